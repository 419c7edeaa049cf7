"""The voices and sources to evaluate on, from a manifest of recordings (`manifest.csv`) beside them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from ml.errors import EngineError

TRAINING_SHARE, TRAINING_SECONDS = 0.75, 60.0
SOURCES_A_VOICE = 12
LEAST_SECONDS = 13.4
"""Speech of a speaker that is enough for a voice of its own: three quarters of it are an instant voice's 10 s."""

PLENTY_SECONDS = 40.0
"""Speech from which on a voice is judged as one of a minute; voices of less are listed after those."""


@dataclass(frozen=True)
class Clip:
    """One recording: its file, speaker, sex ("F", "M" or ""), length in seconds, and what is said in it.

    `start` and `end` (s) make it a part of the file; None is the file's end.
    """

    path: Path
    speaker: str
    sex: str
    seconds: float
    transcript: str
    role: str
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Trial:
    """A voice to make of `training`, to compare with `testing`, and to convert `sources` into."""

    name: str
    sex: str
    training: list[Clip]
    testing: list[Clip]
    sources: list[Clip]


def read_manifest(folder: Path) -> list[Clip]:
    """All recordings of a folder. Raises EngineError without a manifest."""
    path = folder / "manifest.csv"
    if not path.is_file():
        raise EngineError(f"There is no manifest.csv in {folder}.")
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Clip(
                folder / row["path"],
                row["speaker_id"],
                row["sex"],
                float(row["duration_s"]),
                row["transcript"],
                row["role"],
            )
            for row in csv.DictReader(file)
        ]


def development_trials(folder: Path, sources: int = SOURCES_A_VOICE) -> list[Trial]:
    """The development set's voices: three quarters of a target's files, at most 60 s, to train on; the rest to test."""
    clips = [clip for clip in read_manifest(folder) if clip.sex and clip.transcript]
    names = sorted({clip.speaker for clip in clips if "target" in clip.role})
    return [_trial(name, clips, sources) for name in names]


def held_out_trials(folder: Path, speakers: Collection[str], sources: int = SOURCES_A_VOICE) -> list[Trial]:
    """The same for those `speakers` of a training set, held out of the base, that have `LEAST_SECONDS` of speech.

    Sources are recordings of all the other held-out speakers, with transcripts or without. Voices of at least
    `PLENTY_SECONDS` come first. Who has a single recording is trained on its first three quarters and tested on the
    rest of it.
    """
    clips = [clip for clip in read_manifest(folder) if clip.speaker in set(speakers)]
    seconds: dict[str, float] = defaultdict(float)
    for clip in clips:
        seconds[clip.speaker] += clip.seconds if clip.role != "source" else 0.0
    names = [name for name in seconds if seconds[name] >= LEAST_SECONDS]
    names.sort(key=lambda name: (seconds[name] < PLENTY_SECONDS, name))
    return [_trial(name, clips, sources) for name in names]


def singing(folder: Path) -> list[Clip]:
    """The sung sources of a development set."""
    return [clip for clip in read_manifest(folder) if clip.role == "singing"]


def _trial(name: str, clips: Sequence[Clip], sources: int) -> Trial:
    own = sorted((c for c in clips if c.speaker == name and c.role != "source"), key=lambda clip: clip.path)
    if len(own) == 1:
        own = _parts(own[0])
    split = min(max(1, round(TRAINING_SHARE * len(own))), len(own) - 1)
    training: list[Clip] = []
    for clip in own[:split]:
        if sum(c.seconds for c in training) + clip.seconds <= TRAINING_SECONDS:
            training.append(clip)
    return Trial(name, own[0].sex, training, own[split:], _sources(name, clips)[:sources])


def _parts(clip: Clip) -> list[Clip]:
    """A recording as two, of `TRAINING_SHARE` of it and the rest; what is said in each is not known."""
    at = TRAINING_SHARE * clip.seconds
    return [
        replace(clip, seconds=at, end=at, transcript=""),
        replace(clip, seconds=clip.seconds - at, start=at, transcript=""),
    ]


def _sources(name: str, clips: Sequence[Clip]) -> list[Clip]:
    """Recordings of the other speakers, one of each in turn, those meant as sources first.

    The turn begins with who comes after `name`, so that the first few sources of all voices together are of everybody.
    """
    by_speaker: dict[str, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: ("source" not in clip.role, str(clip.path))):
        if clip.speaker != name:
            by_speaker[clip.speaker].append(clip)
    # From the end: what a voice of this speaker is trained on lies at the beginning.
    order = sorted(by_speaker, key=lambda speaker: (speaker < name, speaker))
    turns = zip_longest(*(reversed(by_speaker[speaker]) for speaker in order))
    return [clip for turn in turns for clip in turn if clip is not None]
