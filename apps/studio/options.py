"""The options of a conversion in words: what can be chosen, and what was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ml.catalog import F0_METHODS, PRESETS
from ml.options import ConvertOptions


@dataclass(frozen=True)
class Format:
    """A file format that a result can have."""

    label: str
    suffix: str
    content_type: str


FORMATS = {
    "wav16": Format("WAV, 16 bit", "wav", "audio/wav"),
    "wav24": Format("WAV, 24 bit", "wav", "audio/wav"),
    "flac": Format("FLAC, lossless", "flac", "audio/flac"),
    "mp3": Format("MP3", "mp3", "audio/mpeg"),
    "ogg": Format("OGG (Opus)", "ogg", "audio/ogg"),
    "m4a": Format("M4A (AAC)", "m4a", "audio/mp4"),
}
SAMPLE_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
NOT_CHOSEN = {"seed", "tags", "bit_rate"}  # ConvertOptions has them too, but no form asks for them


def defaults() -> dict[str, Any]:
    """Return the options that hold when nothing is chosen."""
    return {name: value for name, value in asdict(ConvertOptions()).items() if name not in NOT_CHOSEN}


def described(options: Mapping[str, Any]) -> dict[str, str]:
    """Return label -> value, in words and with units, of a conversion's ``options``."""
    options = {**defaults(), **options}
    pitch, rate, loudness = options["pitch"], options["sample_rate"], options["loudness"]
    return {
        "Preset": PRESETS[options["preset"]].label,
        "Pitch": "Automatic, to the voice's range" if pitch == "auto" else f"{pitch:+g} semitones",
        "Retrieval": f"{options['retrieval']:.0%}",
        "Noise reduction": f"{options['denoise']:.0%}",
        "Protection of consonants": f"{options['protection']:.0%}",
        "Loudness contour": f"{options['envelope']:.0%} of the source's",
        "Formant shift": f"{options['formant']:+g} semitones" if options["formant"] else "None",
        "Rumble": "Taken out" if options["high_pass"] else "Kept",
        "Pitch smoothing": f"{options['pitch_smoothing']:g} ms" if options["pitch_smoothing"] else "None",
        "Autotune": _autotune(options),
        "Pitch method": F0_METHODS[options["f0_method"]].label,
        "Format": FORMATS[options["format"]].label,
        "Bit rate": f"{options['bit_rate'] / 1000:g} kbit/s" if options.get("bit_rate") else "As its format has it",
        "Sample rate": f"{rate / 1000:g} kHz" if rate else "As the source",
        "Loudness": f"{loudness:g} LUFS" if loudness is not None else "As the source",
    }


def _autotune(options: Mapping[str, Any]) -> str:
    if not options["autotune"]:
        return "Off"
    return f"{options['autotune']:.0%} to {options['scale']}, over {options['retune']:g} ms"


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (label, before, after) for each option in which two conversions differ."""
    old, new = described(before), described(after)
    return [(label, old[label], new[label]) for label in new if old[label] != new[label]]
