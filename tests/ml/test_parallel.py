"""Pieces side by side: in order, bounded, and the same sound whatever the number of threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ml.engine import Cancelled, ConvertOptions
from ml.parallel import alone, in_order
from tests.ml.conftest import Made, write_speech


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_results_come_in_the_order_of_their_items(threads: int) -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number * number

    assert list(in_order(slow_first, range(20), threads)) == [number * number for number in range(20)]


def test_pieces_run_side_by_side_and_few_results_wait() -> None:
    barrier = threading.Barrier(2, timeout=5)
    taken: list[int] = []

    def both(number: int) -> int:
        barrier.wait()  # broken unless two are at work at once
        return number

    def items() -> Iterator[int]:
        for number in range(6):
            taken.append(number)
            yield number

    with closing(in_order(both, items(), 2)) as found:
        assert next(found) == 0
        assert len(taken) <= 3
        assert list(found) == [1, 2, 3, 4, 5]


def test_what_a_piece_raises_is_raised_at_its_turn() -> None:
    def fails(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    seen = []
    with pytest.raises(ValueError, match="three"):
        for number in in_order(fails, range(9), 2):
            seen.append(number)
    assert seen == [0, 1, 2]


def test_alone_gives_torch_one_thread_and_then_as_many_as_before() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with alone() as threads:
            assert (threads, torch.get_num_threads()) == (2, 1)
            assert list(in_order(lambda _: torch.get_num_threads(), range(4), 2)) == [1, 1, 1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_sound_does_not_depend_on_the_number_of_threads(made: Made, tmp_path: Path) -> None:
    source, sounds = write_speech(tmp_path / "long.wav", 40.0, 24_000), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.engine.convert(made.voice, source, tmp_path / "out.wav", options=ConvertOptions(seed=3))
            sounds.append(soundfile.read(tmp_path / "out.wav", dtype="int16")[0])
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*sounds)


def test_a_conversion_on_two_threads_can_be_cancelled(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "long.wav", 60.0, 16_000)
    before = torch.get_num_threads()
    torch.set_num_threads(2)

    def stop(fraction: float, stage: str) -> None:
        if stage == "Converting" and fraction > 0.3:
            raise Cancelled

    try:
        with pytest.raises(Cancelled):
            made.engine.convert(made.voice, source, tmp_path / "out.wav", report=stop)
    finally:
        torch.set_num_threads(before)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("piece")]
    assert list(tmp_path.iterdir()) == [source]
