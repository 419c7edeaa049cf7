"""The training of one voice: the loop, its checkpoints, its resumption. What is learnt is the lesson's affair.

A working folder holds `state.safetensors` (weights, optimizer, step, curve; replaced atomically at least every
`save_seconds`), `best.safetensors` (the weights that did best on held-out takes) and the samples. Each step draws its
data by its own number, so a training that was killed goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ml import checkpoint
from ml.audio import save
from ml.catalog import F0_METHODS, PRECISIONS, PRESETS
from ml.converters.base import Checkpoint, Lesson, Report, Samples, TrainOptions, TrainResult
from ml.errors import EngineError

VALIDATIONS = 6
_AS_GOOD = 1.01  # of two checkpoints within one per cent the later one is taken: it has learnt more of the voice
_PREPARE, _FINISH = 0.08, 0.97
_REPORT_SECONDS = 0.25

Sampler = Callable[[Path, Report], tuple[Samples, int]]
"""Renders a short sample with a voice file: (n,) and its rate; reports as it goes, so that it too can be stopped."""


@dataclass
class _Progress:
    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    curve: list[dict[str, float]] = field(default_factory=list)


def run(
    lesson: Lesson,
    out: Path,
    *,
    takes: Sequence[Path],
    options: TrainOptions,
    workdir: Path,
    sampler: Sampler,
    report: Report,
    on_checkpoint: Callable[[Checkpoint], None] | None = None,
) -> TrainResult:
    """Trains to the end, or on from where an earlier call with the same `workdir` stopped, and writes `out`.

    Raises EngineError when `workdir` belongs to other takes or options; lets Cancelled through from `report`, after
    which the same call resumes.
    """
    started = time.monotonic()
    workdir.mkdir(parents=True, exist_ok=True)
    loop = _Loop(lesson, workdir, fingerprint(takes, options), options, sampler, report, on_checkpoint)
    lesson.prepare(lambda part, stage: report(part * _PREPARE, stage))
    loop.resume()
    loop.train(started)
    report(_FINISH, "Choosing the best checkpoint")
    tensors, _ = checkpoint.load(workdir / "best.safetensors")
    lesson.load_state(tensors)
    lesson.save(out)
    metrics = lesson.measure()
    report(1.0, "Done")
    return TrainResult(
        path=out,
        metrics=metrics,
        curve=loop.progress.curve,
        seconds=loop.progress.seconds,
        steps=lesson.steps,
        samples=sorted(workdir.glob("sample-*.wav")),
        sha256=hashlib.sha256(out.read_bytes()).hexdigest(),
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
        on_checkpoint: Callable[[Checkpoint], None] | None,
    ) -> None:
        self.lesson, self.workdir, self.mark, self.options = lesson, workdir, mark, options
        self.sampler, self.report, self.on_checkpoint = sampler, report, on_checkpoint
        self.progress = _Progress()
        self.losses: list[float] = []
        self.saved = time.monotonic()
        self.reported = 0.0

    def resume(self) -> None:
        """Takes up the last state in the working folder, if there is one."""
        path = self.workdir / "state.safetensors"
        if not path.exists():
            return
        tensors, metadata = checkpoint.load(path)
        if metadata["fingerprint"] != self.mark:
            raise EngineError("The working folder belongs to a training with other takes or options.")
        self.lesson.load_state(tensors)
        self.progress = _Progress(**metadata["progress"])

    def train(self, started: float) -> None:
        """All remaining steps, with validation at equal distances and saving in between."""
        steps, before = self.lesson.steps, self.progress.seconds
        every = max(1, -(-steps // VALIDATIONS))
        while self.progress.step < steps:
            self._report(f"Training, step {self.progress.step} of {steps}")
            self.losses.append(self.lesson.step(self.progress.step))
            self.progress.step += 1
            self.progress.seconds = before + time.monotonic() - started
            if self.progress.step % every == 0 or self.progress.step == steps:
                self._validate(steps)
            elif time.monotonic() - self.saved >= self.options.save_seconds:
                self._save()

    def _report(self, stage: str) -> None:
        now = time.monotonic()
        if now - self.reported >= _REPORT_SECONDS:
            self.reported = now
            self.report(_PREPARE + self.progress.step / self.lesson.steps * (_FINISH - _PREPARE), stage)

    def _validate(self, steps: int) -> None:
        self._report("Listening to held-out takes")
        held_out = self.lesson.held_out()
        loss = sum(self.losses) / max(1, len(self.losses))
        self.losses.clear()
        self.progress.curve.append({"step": self.progress.step, "loss": loss, "held_out": held_out})
        self.progress.best = min(self.progress.best, held_out)
        if held_out <= _AS_GOOD * self.progress.best:
            checkpoint.save(self.workdir / "best.safetensors", self.lesson.state(), self._metadata())
        self._save()
        sample = self._sample()
        if self.on_checkpoint is not None:
            progress = self.progress
            self.on_checkpoint(Checkpoint(progress.step, steps, progress.seconds, list(progress.curve), sample))

    def _sample(self) -> Path:
        voice = self.workdir / "sample.voice"
        self.lesson.save(voice)
        samples, rate = self.sampler(voice, lambda fraction, stage: self._report("Making a sample"))
        path = self.workdir / f"sample-{self.progress.step:06d}.wav"
        save(path, samples, rate, "PCM_16")
        voice.unlink()
        return path

    def _save(self) -> None:
        checkpoint.save(self.workdir / "state.safetensors", self.lesson.state(), self._metadata())
        self.saved = time.monotonic()

    def _metadata(self) -> dict[str, Any]:
        return {"fingerprint": self.mark, "progress": asdict(self.progress)}
