"""``voicecloud train``: a new model of a voice."""

from __future__ import annotations

import argparse

from voicecloud_client.commands.context import Context, Subparsers, UsageError, voice_of, wait_for
from voicecloud_client.options import Training


def add(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = subparsers.add_parser("train", parents=[common], help="train a new model of a voice")
    parser.add_argument("voice", metavar="VOICE", help="name or id")
    parser.add_argument("--instant", action="store_true", help="no training, less alike")
    parser.add_argument("--preset", help="fast, balanced or quality")
    parser.add_argument("--steps", type=int, metavar="N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--no-wait", action="store_true", help="do not wait for its end")
    parser.set_defaults(run=train)


def train(context: Context) -> int:
    """Train, or make an instant model."""
    given, models = context.given, context.client.models
    chosen = {name: value for name in ("preset", "steps", "seed") if (value := getattr(given, name)) is not None}
    if given.instant and chosen:
        raise UsageError("An instant model has no options.")
    voice = voice_of(context.client, given.voice)
    model = models.instant(voice.id) if given.instant else models.train(voice.id, Training(**chosen))
    if given.no_wait:
        line = f"Version {model.version} of {voice.name} has begun. Watch it: voicecloud jobs watch {model.job}"
        context.screen.show(model, line)
        return 0
    wait_for(context, model.job, f"{voice.name}, version {model.version}")
    model = models.get(model.id)
    active = "It is the one that conversions use." if model.active else "It is not the one that conversions use."
    context.screen.show(model, f"Version {model.version} of {voice.name} is ready. {active}")
    return 0
