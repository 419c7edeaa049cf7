"""The report before a training: how much usable sound there is, what is missing, what may be expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ml.takes import TakeInfo  # loads torch, and the web makes this report too

WANTED_SECONDS = 60.0
LEAST_SECONDS = 10.0
# The mean over 22 voices of held-out speakers (10 to 60 s of speech), and the mean distance of one to that of the
# others (`benchmarks/preflight_error.py`). No grade of the recordings came nearer: sources matter more.
MEASURED_LIKENESS, LIKENESS_ERROR = 0.77, 0.04
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class Preflight:
    """What the takes of a voice promise.

    `missing`: sentences on what to record besides. `quality`: 0..1, the product of how far seconds, noise,
    reverberation and pitch range each come up to what a good voice needs (1: nothing to wish for); `rating` is the same
    as a word: "poor" under .4, "fair" under .65, "good" under .85, else "very good". `likeness`: what an independent
    verifier may be expected to find between conversions and the speaker (cosine), off by `likeness_error` on average;
    None while there is too little to make a voice of. `outliers`: indexes of takes that do not sound like the speaker
    of the rest.
    """

    usable_seconds: float
    missing: list[str]
    rating: str
    quality: float
    likeness: float | None
    likeness_error: float
    outliers: list[int]


def preflight(takes: Sequence[TakeInfo | Mapping[str, Any]], *, same_speaker: float) -> Preflight:
    """The report over `takes`, as TakeInfo or as mappings with its fields; `same_speaker` is the cosine that
    two takes of one speaker reach."""
    rows = [take if isinstance(take, Mapping) else asdict(take) for take in takes]
    outliers = find_outliers([row["speaker"] for row in rows], same_speaker)
    usable = [row for index, row in enumerate(rows) if row["usable"] and index not in outliers]
    seconds = sum(row["end"] - row["start"] for row in usable)
    quality = _quality(usable, seconds)
    words = ("poor", "fair", "good", "very good")
    word = words[int(np.searchsorted((0.4, 0.65, 0.85), quality, side="right"))]
    return Preflight(
        usable_seconds=round(seconds, 1),
        missing=_missing(usable, seconds, len(outliers)),
        rating=word,
        quality=round(quality, 2),
        likeness=MEASURED_LIKENESS if seconds >= LEAST_SECONDS else None,
        likeness_error=LIKENESS_ERROR,
        outliers=outliers,
    )


def find_outliers(speakers: Sequence[Sequence[float]], same_speaker: float) -> list[int]:
    """Indexes of unit vectors further from the majority's centre than `same_speaker` (cosine).

    The majority is found from the vector that most others are near to.
    """
    if len(speakers) < 2:
        return []
    vectors = np.asarray(speakers, np.float64)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    near = vectors @ vectors.T >= same_speaker
    core = vectors[near[int(near.sum(axis=1).argmax())]]
    centre = core.mean(axis=0)
    cosines = vectors @ centre / max(float(np.linalg.norm(centre)), 1e-9)
    return [int(index) for index in np.flatnonzero(cosines < same_speaker)]


def note_name(hertz: float) -> str:
    """The name of the nearest note of the tempered scale: 440 -> "A4"."""
    midi = round(69 + 12 * np.log2(hertz / 440.0))
    return f"{_NAMES[midi % 12]}{midi // 12 - 1}"


def _missing(usable: Sequence[Mapping[str, Any]], seconds: float, outliers: int) -> list[str]:
    found: list[str] = []
    if not usable:
        return ["No take is usable yet; record at least a minute of clear speech in a quiet room."]
    if seconds < LEAST_SECONDS:
        found.append(f"Only {seconds:.0f} s are usable; even an instant voice needs {LEAST_SECONDS:.0f} s.")
    elif seconds < WANTED_SECONDS:
        found.append(f"Only {seconds:.0f} s are usable; a trained voice wants {WANTED_SECONDS:.0f} s or more.")
    low = min(row["f0_low_hz"] for row in usable if row["f0_low_hz"] > 0)
    high = max(row["f0_high_hz"] for row in usable)
    if np.log2(high / low) < 1.0:
        found.append(f"No notes below {note_name(low)}; read a few sentences in a low, calm voice.")
        found.append(f"No notes above {note_name(high)}; read lively, or sing, to cover higher ones.")
    elif high < 440.0:
        found.append(f"No notes above {note_name(high)}; sing a few if the voice shall sing higher.")
    if np.median([row["snr_db"] for row in usable]) < 25.0:
        found.append("The takes are a little noisy; a quieter room makes a cleaner voice.")
    if np.median([row["reverberation"] for row in usable]) > 0.6:
        found.append("The room can be heard; a smaller, softer room makes a drier voice.")
    if outliers:
        found.append(f"{outliers} of the takes sound like somebody else; listen to them and drop them.")
    return found


def _quality(usable: Sequence[Mapping[str, Any]], seconds: float) -> float:
    if not usable:
        return 0.0
    snr = float(np.median([row["snr_db"] for row in usable]))
    decay = float(np.median([row["reverberation"] for row in usable]))
    low = min((row["f0_low_hz"] for row in usable if row["f0_low_hz"] > 0), default=1.0)
    octaves = float(np.log2(max(row["f0_high_hz"] for row in usable) / low))
    parts = (
        min(1.0, seconds / WANTED_SECONDS) ** 0.5,
        float(np.clip((snr - 5.0) / 25.0, 0.2, 1.0)),
        float(np.clip(1.0 - (decay - 0.5), 0.5, 1.0)),
        float(np.clip(0.7 + 0.3 * octaves, 0.7, 1.0)),
    )
    return float(np.prod(parts))
