"""A process that stays: it runs one order after another for its parent, which hears when each is done, or that it died.

Forked, so it begins with all that its parent has loaded; what it loads itself (weights, graphics memory) stays warm for
the next order, which a process for each order cannot offer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)
_MORE, _LAST = b"+", b"-"


@dataclass
class Resident:
    """The parent's end. ``pid`` is also the process group of the process and whatever it starts."""

    pid: int
    _orders: int
    _answers: int
    _life: int
    _leaving: bool = False

    @classmethod
    def start(cls, prepare: Callable[[], None], carry_out: Callable[[str], bool]) -> Resident:
        """Fork a process that calls ``prepare`` once and ``carry_out`` with each order, until that returns False.

        What ``carry_out`` raises ends the process with status 1.
        """
        orders_there, orders_here = os.pipe()
        answers_here, answers_there = os.pipe()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setpgrp()
                os.close(orders_here)
                os.close(answers_here)
                prepare()
                _serve(orders_there, answers_there, carry_out)
                status = 0
            except BaseException:
                log.exception("the work-horse fails")
            finally:
                os._exit(status)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)  # whoever of the two is first: from here on it can be killed as a group
        os.close(orders_there)
        os.close(answers_there)
        return cls(pid, orders_here, answers_here, os.pidfd_open(pid))

    def order(self, what: str) -> bool:
        """Give the next order, one line; False when the process is dead."""
        try:
            os.write(self._orders, f"{what}\n".encode())
        except BrokenPipeError:
            return False
        return True

    def wait(self) -> int | None:
        """Wait until the order is carried out (None), or return the wait status of the process that died over it."""
        # Not the pipe's end alone: what the process started may hold it open after its death.
        ready, _, _ = select.select([self._answers, self._life], [], [])
        signal.alarm(0)  # whoever limits this wait by an alarm must not interrupt what can be read only once
        answer = os.read(self._answers, 1) if self._answers in ready else b""
        if answer:
            self._leaving = answer == _LAST
            return None
        return os.waitpid(self.pid, 0)[1]

    @property
    def can_go_on(self) -> bool:
        """Say whether it lives and takes another order."""
        return not self._leaving and not select.select([self._life], [], [], 0)[0]

    def end(self) -> None:
        """Kill it with all that it started, and forget it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # waited for before
            os.waitpid(self.pid, 0)
        for descriptor in (self._orders, self._answers, self._life):
            os.close(descriptor)


def _serve(orders: int, answers: int, carry_out: Callable[[str], bool]) -> None:
    with os.fdopen(orders) as lines:
        for line in lines:
            more = carry_out(line.strip())
            os.write(answers, _MORE if more else _LAST)
            if not more:
                return
