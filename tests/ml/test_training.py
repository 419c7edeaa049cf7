"""A training: resumes where it was killed, to the same end; stops when asked; tells of its checkpoints."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ml import checkpoint
from ml.engine import AudioError, Cancelled, Checkpoint, Engine, EngineError, TrainOptions, silent

OPTIONS = TrainOptions(preset="fast", steps=60, save_seconds=0.0)
# More steps than any machine makes while a test looks on, however late it is given its turn.
ENDLESS = TrainOptions(steps=1_000_000, save_seconds=0.1, patience=0)


class Power(Exception):
    """Stands for whatever ends a process in mid-training."""


def states(folder: Path) -> list[Path]:
    """Return the generations of a work folder, the oldest first."""
    return sorted(folder.glob("state-*.safetensors"))


def _engine() -> Engine:
    return Engine(converter="toy", threads=1)


@pytest.mark.parametrize("converter,steps", [("toy", 60), ("native", 4)])
def test_a_resumed_training_ends_as_one_that_was_never_stopped(
    converter: str, steps: int, takes: list[Path], tmp_path: Path
) -> None:
    engine = Engine(converter=converter, threads=1)
    options = TrainOptions(preset="fast", steps=steps, save_seconds=0.0)
    whole = engine.train(takes, tmp_path / "whole.voice", options=options, workdir=tmp_path / "whole")

    def fail(found: Checkpoint) -> None:
        if found.step >= steps // 2:
            raise Power

    with pytest.raises(Power):
        engine.train(
            takes, tmp_path / "stopped.voice", options=options, workdir=tmp_path / "stopped", on_checkpoint=fail
        )
    assert not (tmp_path / "stopped.voice").exists()
    seen: list[int] = []
    resumed = engine.train(
        takes,
        tmp_path / "stopped.voice",
        options=options,
        workdir=tmp_path / "stopped",
        on_checkpoint=lambda found: seen.append(found.step),
    )
    # The check that was told when it failed is told once more, so that its sample is not lost.
    assert min(seen) == steps // 2
    assert [point["step"] for point in resumed.curve] == [point["step"] for point in whole.curve]
    for name, tensor in checkpoint.load(tmp_path / "whole.voice")[0].items():
        other = checkpoint.load(tmp_path / "stopped.voice")[0][name]
        assert np.allclose(tensor.float(), other.float(), atol=2e-3), name


def _train_slowly(takes: list[Path], folder: Path) -> None:
    def slow(fraction: float, stage: str) -> None:
        time.sleep(0.02)

    _engine().train(takes, folder / "out.voice", options=ENDLESS, workdir=folder / "work", report=slow)


def test_a_killed_process_loses_at_most_the_time_since_the_last_save(takes: list[Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    child = context.Process(target=_train_slowly, args=(takes, tmp_path))
    child.start()
    deadline = time.monotonic() + 60
    while len(states(tmp_path / "work")) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    state = states(tmp_path / "work")[-1]
    age = time.time() - state.stat().st_mtime
    reached = checkpoint.load(state)[1]["progress"]["step"]
    assert reached > 0 and age < 15
    starts: list[int] = []
    with pytest.raises(Cancelled):
        _engine().train(
            takes,
            tmp_path / "out.voice",
            options=ENDLESS,
            workdir=tmp_path / "work",
            report=lambda fraction, stage: _stop_at_training(stage, starts),
        )
    assert starts and starts[0] >= reached


def _stop_at_training(stage: str, starts: list[int]) -> None:
    if stage.startswith("Training"):
        starts.append(int(stage.split()[2]))
        raise Cancelled


def test_stopping_keeps_the_checkpoints_and_writes_no_voice(takes: list[Path], tmp_path: Path) -> None:
    def stop(found: Checkpoint) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        _engine().train(takes, tmp_path / "a.voice", options=OPTIONS, workdir=tmp_path / "w", on_checkpoint=stop)
    assert len(states(tmp_path / "w")) == 2
    assert not (tmp_path / "a.voice").exists()


def test_a_working_folder_of_another_training_is_refused(takes: list[Path], tmp_path: Path) -> None:
    _engine().train(takes, tmp_path / "a.voice", options=OPTIONS, workdir=tmp_path / "w")
    with pytest.raises(EngineError, match="other takes or options"):
        _engine().train(takes[:2], tmp_path / "b.voice", options=OPTIONS, workdir=tmp_path / "w")


def test_checkpoints_tell_step_curve_and_sample(takes: list[Path], tmp_path: Path) -> None:
    found: list[Checkpoint] = []
    fractions: list[float] = []
    result = _engine().train(
        takes,
        tmp_path / "a.voice",
        options=OPTIONS,
        workdir=tmp_path / "w",
        report=lambda fraction, stage: fractions.append(fraction),
        on_checkpoint=found.append,
    )
    assert [point.step for point in found] == [10, 20, 30, 40, 50, 60]
    assert all(set(point.curve[-1]) == {"step", "loss", "held_out"} for point in found)
    assert all(point.sample and soundfile.info(point.sample).frames > 10_000 for point in found)
    assert found[-1].curve[-1]["held_out"] < found[0].curve[0]["held_out"] * 1.05
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert result.steps == 60 and len(result.sha256) == 64 and len(result.samples) == 6


def test_takes_without_a_voice_or_too_short_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).standard_normal(80_000) * 0.05, 16_000)
    soundfile.write(tmp_path / "short.wav", np.zeros(8_000), 16_000)
    with pytest.raises(AudioError, match="No voice"):
        _engine().train([tmp_path / "noise.wav"], tmp_path / "a.voice", workdir=tmp_path / "w1")
    with pytest.raises(AudioError, match="at least 3 s"):
        _engine().train([tmp_path / "short.wav"], tmp_path / "a.voice", workdir=tmp_path / "w2")


@pytest.mark.parametrize("converter", ["toy", "native"])
def test_an_instant_voice_needs_no_training(converter: str, takes: list[Path], tmp_path: Path) -> None:
    engine = Engine(converter=converter, threads=1)
    made = engine.instant(takes, tmp_path / "a.voice", report=silent)
    assert made.steps == 0 and made.curve == []
    result = engine.convert(tmp_path / "a.voice", takes[0], tmp_path / "out.wav")
    assert result.samples == soundfile.info(takes[0]).frames


@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(preset="best"),
        TrainOptions(precision="fp8"),
        TrainOptions(steps=0),
        TrainOptions(batch=0),
        TrainOptions(batch=65),
        TrainOptions(learning_rate=0.0),
        TrainOptions(denoise=1.5),
        TrainOptions(save_seconds=60.0),
        TrainOptions(patience=25),
    ],
)
def test_an_option_out_of_range_is_refused_with_a_sentence(
    options: TrainOptions, takes: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"must be|unknown"):
        _engine().train(takes, tmp_path / "a.voice", options=options, workdir=tmp_path / "run")
    assert not list(tmp_path.iterdir())
