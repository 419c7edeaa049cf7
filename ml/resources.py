"""What a piece of work takes of its machine: processor, memory, graphics card, seconds by stage.

A thread samples this process and its children once a second, from /proc and, where there is an NVIDIA card, from NVML.
The record is a file that an attempt after this one goes on with.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from ml import graphics

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
MOST_SAMPLES = 600
"""With more the record halves its resolution: each two neighbours become their mean."""
_FAMILY_EVERY = 10
"""Samples between two looks for child processes: it reads a file of every process there is."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Recorder:
    """Samples while it is entered. `path` is the record's file: read at the start, written by `flush` alone."""

    def __init__(self, path: Path, *, interval: float = INTERVAL_SECONDS) -> None:
        self.path, self.interval = path, interval
        self.record = _read(path)
        self._before = float(self.record["seconds"])
        self._began = time.monotonic()
        self._attempt = {"started_at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": 0.0}
        self._card: Any = None
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)

    def __enter__(self) -> Recorder:
        machine, self._card = machine_of(), graphics.handle()
        if machine not in self.record["machines"]:
            self.record["machines"].append(machine)
        self.record["attempts"].append(self._attempt)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the seconds that the block takes to the stage of that name."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                stages = self.record["stages"]
                stages[name] = round(stages.get(name, 0.0) + time.monotonic() - began, 3)

    def facts(self) -> dict[str, Any]:
        """The record so far, as JSON can hold it; see docs/engine.md for its fields."""
        with self._lock:
            spent = time.monotonic() - self._began
            self._attempt["seconds"] = round(spent, 3)
            self.record["seconds"] = round(self._before + spent, 3)
            copied: dict[str, Any] = json.loads(json.dumps(self.record))
            return copied

    def flush(self) -> None:
        """Writes the record. Where that fails it is logged only: the work matters more than its record."""
        note = self.path.with_name(f".{self.path.name}.tmp")
        try:
            note.write_text(json.dumps(self.facts(), separators=(",", ":")), encoding="ascii")
            note.replace(self.path)
        except OSError:
            log.warning("the resource record %s could not be written", self.path, exc_info=True)
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)

    def _run(self) -> None:
        members, turn = family(), 0
        last, spent = time.monotonic(), processor_seconds(members)
        while not self._stop.wait(self.interval):
            turn += 1
            if turn % _FAMILY_EVERY == 0:
                members = family()
            now, total = time.monotonic(), processor_seconds(members)
            sample = {
                # A child that ended takes its seconds along; less than nothing is not shown.
                "cpu_percent": max(0.0, 100.0 * (total - spent) / (now - last)),
                "memory_bytes": float(resident_bytes(members)),
                **graphics.reading(self._card),
            }
            last, spent = now, total
            with self._lock:
                _add(self.record, self._before + now - self._began, sample)


def machine_of() -> dict[str, Any]:
    """What computes here: `name` tells machines of one kind from others."""
    lines = (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    processor, cores = models[0] if models else os.uname().machine, len(os.sched_getaffinity(0))
    threads, card = graphics.threads(), graphics.card()
    name = card if card is not None else f"{processor}, {threads} thread{'s' * (threads != 1)}"
    return {"name": name, "processor": processor, "cores": cores, "threads": threads, "gpu": card}


def family() -> list[int]:
    """This process and all that descend from it."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir(_PROC):
        # A process may end at any moment, and is then nobody's child.
        with contextlib.suppress(OSError, ValueError):
            pid = int(name)
            stat = (_PROC / name / "stat").read_text(encoding="utf-8", errors="replace")
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(pid)
    found, waiting = [], [os.getpid()]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += parents.get(pid, [])
    return found


def processor_seconds(pids: list[int]) -> float:
    """Seconds of processor time that the processes have taken, and those of their children that have ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # ended meanwhile
            fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rsplit(")", 1)[1].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICKS


def resident_bytes(pids: list[int]) -> int:
    """Bytes of main memory that the processes hold; what a fork shares is counted for each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # ended meanwhile
            total += int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1])
    return total * _PAGE


def _read(path: Path) -> dict[str, Any]:
    """The record in a file; an empty one where there is none, or none that can be read."""
    empty: dict[str, Any] = {
        "machines": [], "attempts": [], "seconds": 0.0, "stages": {}, "figures": {},
        "samples": {"interval_seconds": INTERVAL_SECONDS, "seconds": []},
    }  # fmt: skip
    try:
        record = json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return empty
    except ValueError:
        log.warning("the resource record %s is damaged; a new one begins", path)
        return empty
    if not isinstance(record, dict) or set(record) != set(empty):
        log.warning("the resource record %s is damaged; a new one begins", path)
        return empty
    return record


def _add(record: dict[str, Any], at: float, sample: dict[str, float]) -> None:
    """Counts one sample in the means and peaks, and among the points that are drawn."""
    for name, value in sample.items():
        figure = record["figures"].setdefault(name, {"mean": 0.0, "peak": 0.0, "count": 0})
        figure["count"] += 1
        figure["mean"] += (value - figure["mean"]) / figure["count"]
        figure["peak"] = max(figure["peak"], value)
    points = record["samples"]
    times = points["seconds"]
    if times and at - times[-1] < 0.9 * points["interval_seconds"]:
        return
    for name in sample:
        points.setdefault(name, [None] * len(times))
    times.append(round(at, 1))
    for name, values in points.items():
        if name not in ("interval_seconds", "seconds"):
            values.append(round(sample[name], 1) if name in sample else None)
    if len(times) > MOST_SAMPLES:
        _halve(points)


def _halve(points: dict[str, Any]) -> None:
    for name, values in points.items():
        if name != "interval_seconds":
            points[name] = [_mean(values[index : index + 2]) for index in range(0, len(values), 2)]
    points["interval_seconds"] *= 2


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 1) if known else None
