"""The training corpus: what the manifest lists, which speakers are held out, and the audio as numbers."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ml.errors import AudioError

CORPORA = ("librispeech", "speechocean762", "rhasspy_kathleen", "rhasspy_kerstin", "rhasspy_nathalie")
ADULT = 16
HELD_OUT_PER_GROUP = {"librispeech": 3, "librispeech_many": 1, "speechocean762": 5, "speechocean762_child": 3}


@dataclass(frozen=True)
class Utterance:
    """One recording of the corpus as its manifest describes it."""

    path: str
    speaker: str
    sex: str
    age: str
    seconds: float
    language: str
    transcript: str
    licence: str

    @property
    def corpus(self) -> str:
        """The folder, which is the corpus the recording comes from."""
        return self.path.split("/", 1)[0]


def read_manifest(root: Path) -> list[Utterance]:
    """All utterances of `root/manifest.csv`, in its order."""
    with (root / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return [
            Utterance(
                path=row["path"],
                speaker=row["speaker_id"],
                sex=row["sex"],
                age=row["age"],
                seconds=float(row["duration_s"]),
                language=row["language"],
                transcript=row["transcript"],
                licence=row["licence"],
            )
            for row in csv.DictReader(stream)
        ]


def held_out_speakers(utterances: Iterable[Utterance]) -> list[str]:
    """Speakers never trained on: the first few of every group and sex, ordered by a hash of their name.

    Groups are adults and children of speechocean762, LibriSpeech speakers with one utterance and with several;
    the three single-speaker corpora are always trained on.
    """
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    groups: dict[tuple[str, str], list[str]] = {}
    for speaker, spoken in by_speaker.items():
        group = spoken[0].corpus
        if group == "speechocean762" and spoken[0].age and float(spoken[0].age) < ADULT:
            group = "speechocean762_child"
        if group == "librispeech" and len(spoken) > 1:
            group = "librispeech_many"
        groups.setdefault((group, spoken[0].sex), []).append(speaker)
    chosen: list[str] = []
    for (group, _), speakers in groups.items():
        speakers.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        chosen.extend(speakers[: HELD_OUT_PER_GROUP.get(group, 0)])
    return sorted(chosen)


def read_audio(path: Path) -> tuple[NDArray[np.float32], int]:
    """One file as mono samples in -1..1 and its sample rate. Raises AudioError when it cannot be decoded."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path.name} cannot be decoded.") from error
    return np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32), int(rate)
