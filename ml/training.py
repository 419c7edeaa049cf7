"""The training of one voice: the loop, its checkpoints, its resumption. What is learnt is the lesson's affair.

A working folder holds the state (weights, optimizer, step, curve; saved at least every `save_seconds`) in two
generations, the weights that did best on held-out takes, the samples and the resource record. Each step draws its data
by its own number, so a training that was killed goes on as if it had not been; a damaged newest state costs one save
interval. A step that finds no memory is taken again, smaller, from the last checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ml import memory
from ml.audio import save
from ml.catalog import F0_METHODS, PRECISIONS, PRESETS
from ml.converters.base import Checkpoint, Lesson, Report, Samples, TrainOptions, TrainResult
from ml.errors import EngineError, MemoryShortage
from ml.generations import Found, Generations
from ml.resources import Recorder

log = logging.getLogger(__name__)
VALIDATIONS, MOST_VALIDATIONS = 6, 24
LEAST_SHARE = 0.5  # of the steps, before a training that gains nothing any more may stop
_AS_GOOD = 1.01  # of two checkpoints within one per cent the later one is taken: it has learnt more of the voice
_PREPARE, _FINISH = 0.08, 0.97
_REPORT_SECONDS = 0.25
_PACE_STEPS, _LEAST_PACE_STEPS = 50, 5

Sampler = Callable[[Path, Report], tuple[Samples, int]]
"""Renders a short sample with a voice file: (n,) and its rate; reports as it goes, so that it too can be stopped."""


@dataclass(frozen=True)
class Listener:
    """Who is told of a training: `checkpoint` of each check, `note` of what did not go as planned, as a sentence, and
    `estimate` of the seconds that are left, once they can be told."""

    checkpoint: Callable[[Checkpoint], None] | None = None
    note: Callable[[str], None] | None = None
    estimate: Callable[[float], None] | None = None


@dataclass
class _Progress:
    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    curve: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    check_seconds: float | None = None  # what the last check took, with its sample and what was saved
    stopped: bool = False  # it gained nothing any more

    @classmethod
    def of(cls, saved: dict[str, Any]) -> _Progress:
        """As an earlier version may have saved it: what it did not know is as in a new training."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in saved.items() if name in known})


def run(
    lesson: Lesson,
    out: Path,
    *,
    takes: Sequence[Path],
    options: TrainOptions,
    workdir: Path,
    sampler: Sampler,
    report: Report,
    listener: Listener | None = None,
) -> TrainResult:
    """Trains to the end, or on from where an earlier call with the same `workdir` stopped, and writes `out`.

    Raises EngineError when `workdir` belongs to other takes or options, MemoryShortage when not even the smallest step
    fits, OSError when the disk is full (the newest checkpoint is still there); lets Cancelled through from `report`,
    after which the same call resumes.
    """
    started = time.monotonic()
    workdir.mkdir(parents=True, exist_ok=True)
    with Recorder(workdir / "resources.json") as record:
        loop = _Loop(lesson, workdir, fingerprint(takes, options), options, sampler, report, listener, record)
        with record.stage("preparing"):
            lesson.prepare(lambda part, stage: report(part * _PREPARE, stage))
        loop.resume()
        loop.train(started)
        with record.stage("finishing"):
            report(_FINISH, "Choosing the best checkpoint")
            loop.choose()
            lesson.save(out)
            metrics = lesson.measure()
            sha256 = hashlib.sha256(out.read_bytes()).hexdigest()
        report(1.0, "Done")
        progress = loop.progress
        return TrainResult(
            path=out,
            metrics=metrics,
            curve=progress.curve,
            seconds=progress.seconds,
            steps=progress.step,
            samples=sorted(workdir.glob("sample-*.wav")),
            sha256=sha256,
            notes=progress.notes,
            resources=record.facts(),
        )


def check(options: TrainOptions) -> None:
    """Raises EngineError, with a sentence, when an option is outside its range."""
    if options.preset not in PRESETS or options.f0_method not in F0_METHODS or options.precision not in PRECISIONS:
        raise EngineError("The preset, the pitch method or the precision is unknown.")
    if options.steps is not None and options.steps < 1:
        raise EngineError("There must be at least one step.")
    if options.batch is not None and not 1 <= options.batch <= 64:
        raise EngineError("The batch must be from 1 to 64 clips.")
    if options.learning_rate is not None and not 1e-6 <= options.learning_rate <= 1e-2:
        raise EngineError("The learning rate must be from 0.000001 to 0.01.")
    if not 0.0 <= options.denoise <= 1.0:
        raise EngineError("The noise reduction must be from 0 to 1.")
    if not 0.0 <= options.save_seconds <= 15.0:
        raise EngineError("Checkpoints must be at most 15 seconds apart.")
    if not 0 <= options.patience <= MOST_VALIDATIONS:
        raise EngineError(f"The patience must be from 0 to {MOST_VALIDATIONS} checks.")


def checks_of(steps: int, usual: int) -> int:
    """How often a training of `steps` is checked on held-out takes: more often when it is longer than the `usual`."""
    return min(MOST_VALIDATIONS, max(VALIDATIONS, round(VALIDATIONS * steps / usual)))


def gains_nothing(curve: Sequence[dict[str, float]], patience: int) -> bool:
    """Says whether the last `patience` checks (0 = never) were none of them better than the best before."""
    if patience == 0 or len(curve) <= patience:
        return False
    values = [point["held_out"] for point in curve]
    return min(values[-patience:]) >= min(values[:-patience])


def fingerprint(takes: Sequence[Path], options: TrainOptions) -> str:
    """Names a training by the bytes of its takes, in order, and its options."""
    digest = hashlib.sha256(json.dumps(asdict(options), sort_keys=True).encode())
    for take in takes:
        digest.update(hashlib.sha256(take.read_bytes()).digest())
    return digest.hexdigest()


class _Loop:
    def __init__(
        self,
        lesson: Lesson,
        workdir: Path,
        mark: str,
        options: TrainOptions,
        sampler: Sampler,
        report: Report,
        listener: Listener | None,
        record: Recorder,
    ) -> None:
        self.lesson, self.workdir, self.mark, self.options = lesson, workdir, mark, options
        self.sampler, self.report, self.listener, self.record = sampler, report, listener or Listener(), record
        self.states = Generations(workdir, "state", keep=2)
        self.best = Generations(workdir, "best", keep=1)
        self.progress = _Progress()
        self.every = max(1, -(-lesson.steps // checks_of(lesson.steps, PRESETS[options.preset].load().steps)))
        self.losses: list[float] = []
        self.paces: deque[float] = deque(maxlen=_PACE_STEPS)
        self.saved = time.monotonic()
        self.reported = 0.0
        self.untold = False  # the last check is saved, but its sample was perhaps not handed over before a kill

    def resume(self) -> None:
        """Takes up the last whole state in the working folder; where there is none, saves the one to begin with."""
        state = self._take_up()
        if state.damaged and state:
            self._note(f"The newest checkpoint was damaged; going on from step {self.progress.step}.")
        elif state.damaged:
            self._note("The checkpoints were damaged; the training begins anew.")
        elif self.progress.step:
            self.report(self._fraction(), f"Going on from step {self.progress.step}")
        if self.progress.best < float("inf") and not (found := self.best.newest()):
            self.best.forget(found.damaged)
            self.progress.best = float("inf")
            self._note("The best checkpoint so far was damaged; it is chosen anew from the next check on.")

    def _take_up(self) -> Found:
        """Loads the newest whole state, or saves one where there is none; returns what was found."""
        found = self.states.newest()
        self.states.forget(found.damaged)
        if not found:
            self._save()
            return found
        if found.metadata["fingerprint"] != self.mark:
            raise EngineError("The working folder belongs to a training with other takes or options.")
        self.lesson.load_state(found.tensors)
        self.progress = _Progress.of(found.metadata["progress"])
        curve = self.progress.curve
        self.untold = bool(curve) and curve[-1]["step"] == self.progress.step
        return found

    def train(self, started: float) -> None:
        """All remaining steps, with validation at equal distances and saving in between."""
        before = self.progress.seconds
        while self.untold or (self.progress.step < self.lesson.steps and not self.progress.stopped):
            try:
                if self.untold:
                    self._tell()
                    continue
                self._step()
                self.progress.seconds = before + time.monotonic() - started
                if self.progress.step % self.every == 0 or self.progress.step == self.lesson.steps:
                    self._check()
                elif time.monotonic() - self.saved >= self.options.save_seconds:
                    self._save()
            except (MemoryError, RuntimeError) as error:
                if not memory.ran_out(error):
                    raise
                log.warning("memory ran out at step %s with %s", self.progress.step, self.lesson.size(), exc_info=True)
            else:
                continue
            # Outside of the handler, whose error holds on to the memory of the step that failed.
            self._shrink()

    def _step(self) -> None:
        self._report(f"Training, step {self.progress.step} of {self.lesson.steps}")
        began = time.monotonic()
        with self.record.stage("training"):
            self.losses.append(self.lesson.step(self.progress.step))
        self.paces.append(time.monotonic() - began)
        self.progress.step += 1

    def _shrink(self) -> None:
        """Goes on from the last checkpoint with smaller steps: the one that failed may have changed half the weights.

        Raises MemoryShortage at the smallest.
        """
        reached, notes, seconds = self.progress.step, self.progress.notes, self.progress.seconds
        memory.release()
        self._take_up()
        if not self.lesson.shrink():
            raise MemoryShortage(
                f"There is too little memory here to train even with {self.lesson.size()} at a time. "
                "Try again when less runs on this machine, or train on one with more memory."
            )
        self.losses.clear()
        self.paces.clear()
        self.progress.notes, self.progress.seconds = notes, seconds
        back, size = self.progress.step, self.lesson.size()
        self._note(f"Memory ran out at step {reached}; going on from step {back} with {size} a step.")
        self._save()

    def _check(self) -> None:
        began = time.monotonic()
        self._report("Listening to held-out takes")
        with self.record.stage("checking"):
            held_out = self.lesson.held_out()
        loss = sum(self.losses) / max(1, len(self.losses))
        self.losses.clear()
        progress = self.progress
        progress.curve.append({"step": progress.step, "loss": loss, "held_out": held_out})
        progress.best = min(progress.best, held_out)
        if held_out <= _AS_GOOD * progress.best:
            with self.record.stage("saving"):
                self.best.save(self.lesson.state(), self._metadata())
        if progress.step >= LEAST_SHARE * self.lesson.steps and progress.step < self.lesson.steps:
            self._stop_without_gain()
        self._save()
        self._tell()
        progress.check_seconds = time.monotonic() - began

    def _tell(self) -> None:
        """Makes the sample of the last check and hands both over; told twice it takes the place of the first."""
        progress, self.untold = self.progress, True
        with self.record.stage("sampling"):
            sample = self._sample()
        if self.listener.checkpoint is not None:
            found = Checkpoint(
                progress.step, self.lesson.steps, progress.seconds, list(progress.curve), sample, self.record.facts()
            )
            with self.record.stage("keeping"):
                self.listener.checkpoint(found)
        self.untold = False

    def _stop_without_gain(self) -> None:
        if gains_nothing(self.progress.curve, self.options.patience):
            self.progress.stopped = True
            self._note(
                f"Stopped at step {self.progress.step} of {self.lesson.steps}: "
                f"the last {self.options.patience} checks on held-out takes brought no gain."
            )

    def choose(self) -> None:
        """Loads the weights that did best on held-out takes; where their file is damaged the last ones stay."""
        found = self.best.newest()
        if found:
            self.lesson.load_state(found.tensors)
        else:
            self._note("The best checkpoint was damaged; the voice is the last one instead.")

    def _fraction(self) -> float:
        return _PREPARE + self.progress.step / self.lesson.steps * (_FINISH - _PREPARE)

    def _report(self, stage: str) -> None:
        now = time.monotonic()
        if now - self.reported >= _REPORT_SECONDS:
            self.reported = now
            left = self._seconds_left()
            if left is not None and self.listener.estimate is not None:
                self.listener.estimate(left)
            self.report(self._fraction(), stage)

    def _seconds_left(self) -> float | None:
        """By the pace of this attempt's last steps and by what a check takes; None before there was one."""
        progress = self.progress
        if progress.check_seconds is None or len(self.paces) < _LEAST_PACE_STEPS:
            return None
        steps = self.lesson.steps - progress.step
        # The end costs about as much as a check: the best weights are loaded, measured and written.
        checks = -(-self.lesson.steps // self.every) - progress.step // self.every + 1
        return steps * statistics.median(self.paces) + checks * progress.check_seconds

    def _sample(self) -> Path:
        voice = self.workdir / "sample.voice"
        self.lesson.save(voice)
        samples, rate = self.sampler(voice, lambda fraction, stage: self._report("Making a sample"))
        path = self.workdir / f"sample-{self.progress.step:06d}.wav"
        save(path, samples, rate, "PCM_16")
        voice.unlink()
        return path

    def _save(self) -> None:
        with self.record.stage("saving"):
            self.states.save(self.lesson.state(), self._metadata())
        self.record.flush()
        self.saved = time.monotonic()

    def _note(self, sentence: str) -> None:
        if sentence in self.progress.notes:
            return
        log.warning("%s", sentence)
        self.progress.notes.append(sentence)
        if self.listener.note is not None:
            self.listener.note(sentence)

    def _metadata(self) -> dict[str, Any]:
        return {"fingerprint": self.mark, "progress": asdict(self.progress)}
