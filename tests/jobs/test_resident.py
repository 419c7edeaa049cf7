"""The process that stays: it carries out order after order, and its parent hears when it dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.jobs.resident import Resident


@contextmanager
def resident(orders: dict[str, object], prepare: object = None) -> Iterator[Resident]:
    """A process that does what is named, and answers True, or what that returns if it is False."""

    def carry_out(order: str) -> bool:
        return orders[order]() is not False  # type: ignore[operator]

    process = Resident.start(prepare or (lambda: None), carry_out)  # type: ignore[arg-type]
    try:
        yield process
    finally:
        process.end()


def run(process: Resident, order: str) -> int | None:
    assert process.order(order)
    return process.wait()


def test_what_one_order_loads_is_there_for_the_next(tmp_path: Path) -> None:
    loaded: list[int] = []

    def load() -> None:
        loaded.append(len(loaded))
        (tmp_path / "seen").write_text(f"{os.getpid()} {loaded}")

    with resident({"load": load}) as process:
        assert [run(process, "load") for _ in range(3)] == [None] * 3
        assert (tmp_path / "seen").read_text() == f"{process.pid} [0, 1, 2]"
        assert process.can_go_on
    assert loaded == []


def test_its_death_is_heard_with_its_cause() -> None:
    with resident({"die": lambda: os.kill(os.getpid(), signal.SIGKILL)}) as process:
        status = run(process, "die")
        assert status is not None and os.WTERMSIG(status) == signal.SIGKILL


def test_a_child_that_outlives_it_and_holds_its_pipes_does_not_hide_its_death(tmp_path: Path) -> None:
    def leave_a_child() -> None:
        if os.fork() == 0:
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)

    began = time.monotonic()
    with resident({"leave": leave_a_child}) as process:
        assert run(process, "leave") is not None
        group = process.pid
    assert time.monotonic() - began < 10
    limit = time.monotonic() + 10
    while alive_in(group):
        assert time.monotonic() < limit
        time.sleep(0.02)


def alive_in(group: int) -> list[int]:
    """Return the living processes of a group; those that nobody has waited for yet are dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, belongs_to = path.read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:  # gone meanwhile
            continue
        if int(belongs_to) == group and state != "Z":
            found.append(int(path.parts[2]))
    return found


def test_an_order_that_raises_ends_it() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with resident({"fail": fail}) as process:
        status = run(process, "fail")
        assert status is not None and os.waitstatus_to_exitcode(status) == 1


def test_it_says_when_an_order_was_its_last() -> None:
    with resident({"go on": lambda: True, "leave": lambda: False}) as process:
        assert run(process, "go on") is None and process.can_go_on
        assert run(process, "leave") is None and not process.can_go_on


def test_one_that_was_killed_between_two_orders_takes_no_more() -> None:
    with resident({"go on": lambda: True}) as process:
        assert run(process, "go on") is None
        os.kill(process.pid, signal.SIGKILL)
        limit = time.monotonic() + 10
        while process.can_go_on:
            assert time.monotonic() < limit
        assert not process.order("go on")


def test_it_is_prepared_once(tmp_path: Path) -> None:
    def prepare() -> None:
        with (tmp_path / "prepared").open("a") as file:
            file.write("x")

    with resident({"go on": lambda: True}, prepare) as process:
        assert [run(process, "go on"), run(process, "go on")] == [None, None]
    assert (tmp_path / "prepared").read_text() == "x"


def test_ending_it_twice_over_leaves_no_descriptor_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with resident({"go on": lambda: True}) as process:
            run(process, "go on")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("order", ["", "a b c", "ü" * 100])
def test_orders_arrive_as_they_were_given(tmp_path: Path, order: str) -> None:
    def carry_out(what: str) -> bool:
        (tmp_path / "order").write_text(what)
        return True

    process = Resident.start(lambda: None, carry_out)
    try:
        assert run(process, order) is None
        assert (tmp_path / "order").read_text() == order
    finally:
        process.end()
