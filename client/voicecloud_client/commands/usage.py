"""``voicecloud usage``: what was used of the plan."""

from __future__ import annotations

import argparse

from voicecloud_client.commands.context import Context, Subparsers


def add(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = subparsers.add_parser("usage", parents=[common], help="what was used of the plan")
    parser.set_defaults(run=usage)


def usage(context: Context) -> int:
    """Show the meters of the current period, and what is held."""
    found = context.client.usage.get()
    if context.screen.as_json:
        context.screen.show(found)
        return 0
    context.screen.show(None, f"Plan: {found.plan}")
    rows = [
        (
            meter.name,
            meter.used,
            meter.reserved,
            "any" if meter.left is None else meter.left,
            meter.unit,
            f"{meter.period_end:%Y-%m-%d}",
        )
        for meter in found.meters
    ]
    heads = ("meter", "used", "set aside", "left", "unit", "until")
    context.screen.table(found.meters, heads, rows, "The plan has no meters.")
    holdings = [
        (each.name, each.held, "any" if each.limit is None else each.limit, each.unit) for each in found.holdings
    ]
    context.screen.table(found.holdings, ("held", "now", "at most", "unit"), holdings, "The plan limits nothing else.")
    return 0
