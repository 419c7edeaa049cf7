"""How long a training will take, by what trainings took here before: an estimate, its range, or nothing."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models.fields.json import KT, KeyTransform

from apps.voices.models import VoiceModel
from ml.catalog import PRESETS

_RUNS = 20
_TAIL = 0.1  # share of the past errors on either side that the range leaves out


@dataclass(frozen=True)
class Estimate:
    """Seconds that a training will take, and a range that four of five past ones would have kept to.

    With one past training alone the range is that one figure.
    """

    seconds: float
    low: float
    high: float
    runs: int

    @property
    def is_range(self) -> bool:
        """Say whether the two ends differ enough to name both."""
        return self.high > 1.1 * self.low


@dataclass(frozen=True)
class Run:
    """One past training: what it took, and on how much."""

    machine: str
    steps: int
    audio_seconds: float
    preparing: float
    training: float
    rest: float

    @property
    def seconds(self) -> float:
        """All that it took."""
        return self.preparing + self.training + self.rest

    def scaled(self, steps: int, audio_seconds: float) -> float:
        """Return what it says of a training of so many steps on so much sound.

        Preparing takes as long as there is sound, training as there are steps; checks and the end are always the same.
        """
        return self.preparing * audio_seconds / self.audio_seconds + self.training * steps / self.steps + self.rest


def expected(*, engine: str, preset: str, audio_seconds: float, steps: int | None = None) -> Estimate | None:
    """Return how long a training with ``preset`` will take on ``audio_seconds``; None where none was timed before.

    Where machines of several kinds trained lately, the range spans what each of them would take.
    """
    wanted = steps or PRESETS[preset].load().steps
    by_machine: dict[str, list[Run]] = defaultdict(list)
    for run in _past(engine, preset):
        by_machine[run.machine].append(run)
    found = [_estimate(runs, wanted, audio_seconds) for runs in by_machine.values()]
    if not found:
        return None
    # The newest run's machine comes first, and is the likeliest to do the next one.
    return Estimate(found[0].seconds, min(e.low for e in found), max(e.high for e in found), sum(e.runs for e in found))


def _estimate(runs: list[Run], steps: int, audio_seconds: float) -> Estimate:
    seconds = statistics.median(run.scaled(steps, audio_seconds) for run in runs)
    # How far off each run would have been told from the others.
    errors = sorted(
        run.seconds
        / statistics.median(other.scaled(run.steps, run.audio_seconds) for other in runs if other is not run)
        for run in runs
        if len(runs) > 1
    ) or [1.0]
    out = int(_TAIL * len(errors))
    low, high = errors[out], errors[len(errors) - 1 - out]
    return Estimate(seconds, seconds * min(1.0, low), seconds * max(1.0, high), len(runs))


def _past(engine: str, preset: str) -> list[Run]:
    """Return the newest trainings that say something of the next: done, with the preset's batch, on one machine."""
    done = VoiceModel.objects.filter(engine=engine, preset=preset, kind=VoiceModel.Kind.TRAINED).exclude(file="")
    # The samples of a record are long and not needed here.
    rows = (
        done.filter(options__batch=None)
        .annotate(
            stages=KeyTransform("stages", "resources"),
            machines=KeyTransform("machines", "resources"),
            total=KT("resources__seconds"),
            attempts=KeyTransform("attempts", "resources"),
        )
        .order_by("-pk")
        .values("steps", "seconds_of_audio", "stages", "machines", "total", "attempts")[:_RUNS]
    )
    return [run for row in rows if (run := _run_of(row)) is not None]


def _run_of(row: Mapping[str, Any]) -> Run | None:
    machines, stages = row["machines"] or [], row["stages"] or {}
    if len(machines) != 1 or not row["steps"] or not row["seconds_of_audio"]:
        return None
    preparing, training = stages.get("preparing", 0.0), stages.get("training", 0.0)
    rest = max(0.0, float(row["total"]) - preparing - training)
    # Each attempt prepares anew; the next training will need one.
    attempts = max(1, len(row["attempts"]))
    return Run(machines[0]["name"], row["steps"], row["seconds_of_audio"], preparing / attempts, training, rest)
