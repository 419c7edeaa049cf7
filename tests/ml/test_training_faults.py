"""A training on a machine that fails it: damaged checkpoints, a full disk, too little memory."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import checkpoint
from ml.adaptation import SHORTEST_CLIP, Adaptation
from ml.converters.base import TrainResult
from ml.converters.native import NativeConverter
from ml.converters.toy import _ToyLesson
from ml.engine import Checkpoint, Engine, TrainOptions, silent
from ml.errors import MemoryShortage
from ml.generations import Generations
from ml.training import checks_of, gains_nothing

OPTIONS = TrainOptions(preset="fast", steps=60, save_seconds=0.0)


class Power(Exception):
    """Stands for whatever ends a process in mid-training."""


def train(takes: list[Path], folder: Path, options: TrainOptions = OPTIONS, **more: Any) -> TrainResult:
    """Train a toy voice in the folder, or go on there."""
    folder.mkdir(exist_ok=True)
    engine = Engine(converter="toy", threads=1)
    return engine.train(takes, folder / "out.voice", options=options, workdir=folder / "work", **more)


def stop_at(step: int) -> Any:
    def stop(found: Checkpoint) -> None:
        if found.step >= step:
            raise Power

    return stop


@pytest.fixture(scope="module")
def whole(takes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A training that nothing happened to."""
    return train(takes, tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def halfway(takes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one that was stopped at half of its steps."""
    folder = tmp_path_factory.mktemp("halfway") / "run"
    with pytest.raises(Power):
        train(takes, folder, on_checkpoint=stop_at(30))
    return folder


def files(folder: Path) -> list[Path]:
    """Return what a resume reads: states, best, the notes of the newest, the record."""
    return sorted(path for path in (folder / "work").iterdir() if path.suffix != ".wav")


def same(one: TrainResult, other: TrainResult) -> None:
    """Check that two trainings learnt the same, to the bit."""
    assert [(p["step"], p["held_out"]) for p in one.curve] == [(p["step"], p["held_out"]) for p in other.curve]
    first, second = (checkpoint.load(result.path)[0] for result in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert one.metrics == other.metrics


@given(
    which=st.integers(0, 5),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    how=st.sampled_from(["flip", "cut", "remove"]),
)
@settings(max_examples=40, deadline=None)
def test_whatever_happens_to_a_file_the_training_ends_as_one_that_was_never_stopped(
    takes: list[Path], whole: TrainResult, halfway: Path, which: int, place: float, bit: int, how: str
) -> None:
    folder = halfway.with_name("damaged")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(halfway, folder)
    found = files(folder)
    assert len(found) == 6
    hurt, notes = found[which], list[str]()
    content = bytearray(hurt.read_bytes())
    at = int(place * len(content))
    if how == "remove":
        hurt.unlink()
    else:
        content[at] ^= 1 << bit
        hurt.write_bytes(content[:at] if how == "cut" else content)
    resumed = train(takes, folder, on_note=notes.append)
    same(resumed, whole)
    newest = max(path.name for path in found if path.name.startswith("state-"))
    if hurt.name == newest:
        assert notes == ["The newest checkpoint was damaged; going on from step 29."] == resumed.notes
    elif hurt.name.startswith("best-"):
        assert notes == ["The best checkpoint so far was damaged; it is chosen anew from the next check on."]
    else:
        assert notes == []


def test_with_both_states_damaged_the_training_begins_anew_and_says_so(
    takes: list[Path], whole: TrainResult, halfway: Path, tmp_path: Path
) -> None:
    shutil.copytree(halfway, tmp_path / "run")
    for path in (tmp_path / "run" / "work").glob("state-*"):
        path.write_bytes(path.read_bytes()[:-1])
    notes: list[str] = []
    same(train(takes, tmp_path / "run", on_note=notes.append), whole)
    assert notes == ["The checkpoints were damaged; the training begins anew."]


def test_a_best_checkpoint_that_is_lost_at_the_end_is_replaced_by_the_last_weights(
    takes: list[Path], tmp_path: Path
) -> None:
    def lose(found: Checkpoint) -> None:
        if found.step == 60:
            for path in (tmp_path / "run" / "work").glob("best-*"):
                path.write_bytes(b"")

    result = train(takes, tmp_path / "run", on_checkpoint=lose)
    assert result.notes == ["The best checkpoint was damaged; the voice is the last one instead."]
    assert result.metrics["held_out"] == result.curve[-1]["held_out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    # Lazily: tensors that were read from its files are still mapped.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_stops_a_training_that_goes_on_once_there_is_room(
    takes: list[Path], whole: TrainResult, small_disk: Path
) -> None:
    folder = small_disk / "run"

    def fill(found: Checkpoint) -> None:
        if found.step == 30:
            with pytest.raises(OSError), (small_disk / "other").open("wb", buffering=0) as other:
                while other.write(b"x" * 4096):
                    pass

    with pytest.raises(OSError) as caught:
        train(takes, folder, on_checkpoint=fill)
    assert caught.value.errno == errno.ENOSPC
    kept = Generations(folder / "work", "state", keep=2).newest()
    assert kept.metadata["progress"]["step"] >= 30 and not kept.damaged
    (small_disk / "other").unlink()
    same(train(takes, folder), whole)


def hungry(monkeypatch: pytest.MonkeyPatch, most: int, at: int = 0) -> list[tuple[int, int]]:
    """Let toy steps of more than `most` frames run out of memory from step `at` on; return (step, frames) of all."""
    real, seen = _ToyLesson.step, list[tuple[int, int]]()

    def step(self: Any, index: int) -> float:
        seen.append((index, self.batch))
        if index >= at and self.batch > most:
            self.curve = self.curve + 100.0  # as an optimiser that was stopped halfway
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(self, index)

    monkeypatch.setattr(_ToyLesson, "step", step)
    return seen


def test_out_of_memory_halves_the_batch_and_goes_on_from_the_last_checkpoint(
    takes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, notes = hungry(monkeypatch, most=64, at=25), list[str]()
    result = train(takes, tmp_path / "run", on_note=notes.append)
    assert (result.steps, result.curve[-1]["step"]) == (60, 60)
    assert seen[24:29] == [(24, 256), (25, 256), (25, 128), (25, 64), (26, 64)]
    assert notes == [
        "Memory ran out at step 25; going on from step 25 with 128 frames a step.",
        "Memory ran out at step 25; going on from step 25 with 64 frames a step.",
    ]
    assert result.notes == notes
    assert result.curve[-1]["held_out"] < 10, "the weights of the step that failed were kept"
    same(train(takes, tmp_path / "again"), result)


def test_a_training_that_was_made_smaller_stays_so_when_it_goes_on(
    takes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = hungry(monkeypatch, most=64, at=5)
    whole = train(takes, tmp_path / "whole")
    with pytest.raises(Power):
        train(takes, tmp_path / "run", on_checkpoint=stop_at(30))
    monkeypatch.undo()
    resumed = train(takes, tmp_path / "run")
    assert undisturbed[-1] == (29, 64)
    same(resumed, whole)
    assert resumed.notes == whole.notes and len(whole.notes) == 2


def test_with_too_little_memory_for_the_smallest_step_the_sentence_says_what_to_do(
    takes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hungry(monkeypatch, most=0)
    with pytest.raises(MemoryShortage, match=r"too little memory .* 1 frames at a time\. Try again"):
        train(takes, tmp_path / "run")


def test_another_runtime_error_is_no_lack_of_memory(
    takes: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, index: int) -> float:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(_ToyLesson, "step", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        train(takes, tmp_path / "run")


def test_native_clips_shorten_once_the_batch_is_one_and_train_on(takes: list[Path]) -> None:
    base = NativeConverter()
    lesson = Adaptation(base.base, base.embed, takes, TrainOptions(preset="fast", steps=4, batch=2))
    lesson.prepare(silent)
    held, sizes = list(lesson.held_clips), []
    while lesson.shrink():
        sizes.append(lesson.size())
        assert 0 < lesson.step(3) < 100
        assert lesson.held_clips == held
    assert sizes == ["1 clip of 1 s", "1 clip of 0.5 s", "1 clip of 0.25 s"]
    assert lesson.clip_seconds == SHORTEST_CLIP
    again = Adaptation(base.base, base.embed, takes, TrainOptions(preset="fast", steps=4, batch=2))
    again.prepare(silent)
    again.load_state(lesson.state())
    assert (again.size(), again.clips) == (lesson.size(), lesson.clips)
    assert again.held_out() == lesson.held_out()


def _train_in_little_room(takes: list[Path], folder: Path, room: int, sender: Any) -> None:
    """A native training in steps of 256 clips, with `room` more bytes of address space than it has once prepared."""
    real = Adaptation.prepare

    def prepare(self: Adaptation, report: Any) -> None:
        real(self, report)
        self.batch = 256  # what `fitted` would not have allowed
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + room,) * 2)

    Adaptation.prepare = prepare  # type: ignore[method-assign]
    engine = Engine(converter="native", threads=1)
    options = TrainOptions(preset="fast", steps=2, save_seconds=0.0)
    result = engine.train(takes, folder / "out.voice", options=options, workdir=folder / "work")
    sender.send((result.notes, result.steps, result.metrics))


def test_a_native_training_fits_itself_to_an_address_space_that_is_too_small(takes: list[Path], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_train_in_little_room, args=(takes, tmp_path, 1_700_000_000, sender))
    child.start()
    sender.close()
    child.join(240)
    assert child.exitcode == 0
    notes, steps, metrics = receiver.recv()
    assert steps == 2 and metrics["held_out"] > 0
    assert re.fullmatch(r"Memory ran out at step (\d); going on from step \1 with 128 clips of 1 s a step\.", notes[0])


@pytest.mark.parametrize(
    ("steps", "usual", "checks"), [(10, 85, 6), (85, 85, 6), (100, 85, 7), (340, 85, 24), (100_000, 85, 24)]
)
def test_a_longer_training_is_checked_more_often(steps: int, usual: int, checks: int) -> None:
    assert checks_of(steps, usual) == checks


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ([5, 4, 3, 3, 3], 2, True),
        ([5, 4, 3, 3, 2.9], 2, False),
        ([5, 4, 3, 6, 7], 3, False),
        ([5, 6], 2, False),
        ([5, 6, 7], 2, True),
        ([5, 6, 7, 8, 9, 10], 6, False),  # the six checks of a preset never stop it
        ([5, 6, 7], 0, False),
    ],
)
def test_a_training_gains_nothing_when_no_check_was_better_than_the_best(
    values: list[float], patience: int, stops: bool
) -> None:
    assert gains_nothing([{"held_out": value} for value in values], patience) == stops


def test_a_long_training_that_gains_nothing_stops_and_keeps_its_best(takes: list[Path], tmp_path: Path) -> None:
    options = TrainOptions(preset="fast", steps=1000, save_seconds=15.0)
    result = train(takes, tmp_path / "run", options)
    assert 500 <= result.steps < 1000
    assert result.notes == [
        f"Stopped at step {result.steps} of 1000: the last 6 checks on held-out takes brought no gain."
    ]
    assert result.metrics["held_out"] <= 1.01 * min(point["held_out"] for point in result.curve)
    whole = train(takes, tmp_path / "whole", TrainOptions(preset="fast", steps=1000, save_seconds=15.0, patience=0))
    assert whole.steps == 1000 and whole.curve[: len(result.curve)] == result.curve


def test_the_sample_of_a_check_that_was_cut_off_is_made_when_the_training_goes_on(
    takes: list[Path], whole: TrainResult, tmp_path: Path
) -> None:
    told: list[int] = []

    def fail(fraction: float, stage: str) -> None:
        if told == [10, 20, 30] and stage == "Making a sample":
            raise Power

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Power):
        patch.setattr("ml.training._REPORT_SECONDS", 0.0)
        train(takes, tmp_path / "run", report=fail, on_checkpoint=lambda found: told.append(found.step))
    assert not (tmp_path / "run" / "work" / "sample-000040.wav").exists()
    resumed = train(takes, tmp_path / "run", on_checkpoint=lambda found: told.append(found.step))
    assert told == [10, 20, 30, 40, 50, 60]
    assert [path.name for path in resumed.samples] == [path.name for path in whole.samples]
    same(resumed, whole)
