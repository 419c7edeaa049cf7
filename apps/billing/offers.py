"""Plans as people compare them: what each holds, and what a change from the present one would mean."""

from __future__ import annotations

from dataclasses import dataclass

from apps.billing import amounts
from apps.billing.plans import METERS, NOT_YET, PLANS, Plan

_FORMATS = {"wav16": "WAV", "wav24": "24-bit WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "Opus", "m4a": "AAC"}


@dataclass(frozen=True)
class Line:
    """One thing that a plan holds; ``change`` is "more" or "less" than the present plan does, "" for neither."""

    name: str
    value: str
    change: str = ""


@dataclass(frozen=True)
class Card:
    """A plan to choose; ``step`` is what choosing it would be: "current", "upgrade", "downgrade", "" to a stranger."""

    plan: Plan
    lines: list[Line]
    step: str


def cards(current: Plan | None) -> list[Card]:
    """Return the plans that are offered, the smallest first, each beside the ``current`` one; that one always."""
    offered = [plan for plan in PLANS.values() if plan.price is not None or plan == current]
    return [Card(plan, lines_of(plan, current), _step(plan, current)) for plan in offered]


def lines_of(plan: Plan, current: Plan | None = None) -> list[Line]:
    """Return what the plan holds, in words."""
    lines = [
        Line(
            f"{meter.name.capitalize()}{'' if meter.held else ' a month'}",
            "any" if plan.limits[slug] is None else value(slug, plan.limits[slug]),
            _change(plan.limits[slug], current.limits[slug] if current else plan.limits[slug]),
        )
        for slug, meter in METERS.items()
        if slug not in NOT_YET
    ]
    at_once = plan.jobs_at_once
    lines.append(
        Line(
            "Jobs at once",
            "as the site sets" if at_once is None else str(at_once or "any"),
            _change(at_once or None, (current.jobs_at_once or None) if current else at_once or None),
        )
    )
    lines.append(Line("Results are kept", _days(plan.retention_days), _kept_change(plan, current)))
    named = [_FORMATS[name] for name in plan.formats]
    lines.append(Line("Formats", ", ".join(named), _change(len(named), len(current.formats if current else named))))
    return lines


def value(meter: str, limit: int | None) -> str:
    """Return an amount in words without what it is of, which stands beside it."""
    if METERS[meter].unit in ("voices", "people"):
        return "any" if limit is None else f"{limit:,}"
    return amounts.shown(meter, limit)


def _days(days: int | None) -> str:
    if days is None:
        return "as the site sets"
    return f"{days} days" if days else "for ever"


def _kept_change(plan: Plan, current: Plan | None) -> str:
    if current is None or plan.retention_days is None or current.retention_days is None:
        return ""
    return _change(plan.retention_days or None, current.retention_days or None)


def _change(limit: int | None, now: int | None) -> str:
    """Compare two limits, of which None is any amount."""
    if limit == now:
        return ""
    if limit is None or (now is not None and limit > now):
        return "more"
    return "less"


def _step(plan: Plan, current: Plan | None) -> str:
    if current is None:
        return ""
    if plan == current:
        return "current"
    return "upgrade" if plan.rank > current.rank else "downgrade"
