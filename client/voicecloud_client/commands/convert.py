"""``voicecloud convert``: files into a voice, and the results into a folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from voicecloud_client.commands.context import Context, Subparsers, save, voice_of, wait_for
from voicecloud_client.errors import ApiError, UnexpectedAnswer, VoicecloudError
from voicecloud_client.models import Conversion
from voicecloud_client.options import Options
from voicecloud_client.terminal import Bar

_NUMBERS = {
    "retrieval": "0 to 1",
    "protection": "of consonants, 0 to 1",
    "envelope": "the source's loudness contour, 0 to 1",
    "denoise": "0 to 1",
    "formant": "semitones",
    "pitch-smoothing": "milliseconds",
    "autotune": "0 to 1",
    "retune": "milliseconds",
    "loudness": "LUFS",
}
_WORDS = {
    "format": "wav16, wav24, flac, mp3, ogg, m4a",
    "preset": "fast, balanced, quality",
    "scale": "for example “A minor”",
    "f0-method": "how the pitch is found",
}
_WHOLE = {"sample-rate": "Hz", "seed": "for the same result again"}


def add(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    text = "Each file is sent, converted and saved under a new name; one that fails stops no other."
    parser = subparsers.add_parser("convert", parents=[common], help="convert files into a voice", description=text)
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--voice", required=True, metavar="VOICE", help="name or id")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="FOLDER", help="for the results; here, if not given"
    )
    parser.add_argument("--pitch", type=_pitch, metavar="SEMITONES", help="or auto: to the voice's range")
    parser.add_argument("--high-pass", action=argparse.BooleanOptionalAction, default=None, help="take rumble out")
    kinds: tuple[tuple[dict[str, str], Callable[[str], Any]], ...] = ((_WORDS, str), (_NUMBERS, float), (_WHOLE, int))
    for names, kind in kinds:
        for name, meaning in names.items():
            parser.add_argument(f"--{name}", type=kind, metavar="X", help=meaning)
    parser.set_defaults(run=convert)


def _pitch(text: str) -> Literal["auto"] | float:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError("give semitones, or auto") from None


def options_of(given: argparse.Namespace) -> Options:
    """Return the options that a command line chose."""
    names = ("pitch", "high_pass", *(name.replace("-", "_") for name in (*_WORDS, *_NUMBERS, *_WHOLE)))
    return Options(**{name: getattr(given, name) for name in names})


def convert(context: Context) -> int:
    """Send all files first, so that they are converted while others wait for their turn; then save each result."""
    voice, options = voice_of(context.client, context.given.voice), options_of(context.given)
    failed, begun = 0, []
    for path in context.given.files:
        try:
            with Bar(path.name) as bar:
                made = context.client.conversions.create(path, voice.id, options, progress=bar.bytes("sending"))
            begun.append((path, made))
        except (VoicecloudError, OSError) as error:
            failed += _told(context, path, error)
        except KeyboardInterrupt:
            _say_how_to_come_back(context, begun)
            raise
    while begun:
        path, conversion = begun[0]
        try:
            saved = _finished(context, path, conversion)
            line = {"file": str(path), "conversion": conversion.id, "job": conversion.job, "saved": str(saved)}
            context.screen.show(line, f"{path}: {saved}")
        except (VoicecloudError, OSError) as error:
            failed += _told(context, path, error)
        except KeyboardInterrupt:
            _say_how_to_come_back(context, begun[1:])
            raise
        del begun[0]
    return 1 if failed else 0


def _finished(context: Context, path: Path, conversion: Conversion) -> Path:
    client = context.client
    wait_for(context, conversion.job, path.name)
    found = client.conversions.get(conversion.id)
    if found.result is None:
        raise UnexpectedAnswer("It is done, but has no result; it may have expired already.")
    artifact = client.artifacts.get(found.result)
    with Bar(path.name) as bar:
        return save(client, artifact, context.given.out, progress=bar.bytes("saving"))


def _told(context: Context, path: Path, error: Exception) -> int:
    sentence = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    context.screen.tell(f"{path}: {sentence}")
    if context.screen.as_json:
        fault = error.as_json() if isinstance(error, ApiError) else {"message": sentence}
        context.screen.show({"file": str(path), "error": fault})
    return 1


def _say_how_to_come_back(context: Context, begun: list[tuple[Path, Conversion]]) -> None:
    for path, conversion in begun:
        context.screen.tell(f"{path} goes on: voicecloud jobs download {conversion.job} --out {context.given.out}")
