"""What a worker says of its GPUs. No test needs one: NVML's own structures are filled by hand here."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import django_rq
import pynvml
import pytest

from apps.jobs import counters, gpus
from apps.jobs.vitals import Vitals

HAS_DRIVER = True
try:
    ctypes.CDLL("libnvidia-ml.so.1")
except OSError:
    HAS_DRIVER = False


class Library:
    """Answers as pynvml does for a machine with these GPUs, until `broken` is raised."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.broken: pynvml.NVMLError | None = None
        self.without_rates = False
        self.opened = self.closed = 0

    def nvmlInit(self) -> None:
        self._answer()
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.closed += 1

    def nvmlDeviceGetCount(self) -> int:
        self._answer()
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> pynvml.c_nvmlMemory_t:
        return pynvml.c_nvmlMemory_t(total=24 << 30, free=23 << 30, used=1 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> pynvml.c_nvmlUtilization_t:
        if self.without_rates:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return pynvml.c_nvmlUtilization_t(gpu=37, memory=12)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        return 61

    def _answer(self) -> None:
        if self.broken is not None:
            raise self.broken


def test_the_library_has_all_that_is_asked_of_it() -> None:
    asked = [name for name in vars(Library) if name.startswith("nvml")]
    assert asked and all(callable(getattr(pynvml, name)) for name in asked)


def test_each_gpu_is_read_in_plain_units() -> None:
    first, second = gpus.read(Library("NVIDIA L4", "NVIDIA H100"))
    figures = {"utilisation": 0.37, "memory_used": 1 << 30, "memory_total": 24 << 30, "temperature": 61}
    assert first == {"index": 0, "name": "NVIDIA L4", **figures}
    assert (second["index"], second["name"]) == (1, "NVIDIA H100")


def test_a_figure_that_a_gpu_does_not_have_is_none_and_hides_no_other() -> None:
    library = Library("NVIDIA A100 MIG 1g.5gb")
    library.without_rates = True
    (device,) = gpus.read(library)
    assert device["utilisation"] is None and device["temperature"] == 61


without_driver = pytest.mark.skipif(HAS_DRIVER, reason="this machine has NVIDIA's driver")


@without_driver
def test_without_a_driver_there_is_none_unless_one_is_needed() -> None:
    assert gpus.Asker(needed=False).ask() == (gpus.NONE, False)
    lost = {"state": "lost", "reason": "NVML Shared Library Not Found", "devices": []}
    assert gpus.Asker(needed=True).ask() == (lost, True)


def test_a_gpu_that_goes_is_lost_and_found_again() -> None:
    library = Library("NVIDIA L4")
    asker = gpus.Asker(needed=False, nvml=library)
    for _ in range(2):
        state, again = asker.ask()
        assert (state["state"], again, library.opened) == ("ok", True, 1)
    library.broken = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    for _ in range(2):
        assert asker.ask() == ({"state": "lost", "reason": "GPU is lost", "devices": []}, True)
    assert library.closed == 1, "the next question begins anew"
    library.broken = None
    assert asker.ask()[0]["state"] == "ok"
    library.names = ()
    assert asker.ask()[0] == {"state": "lost", "reason": "this machine has no GPU", "devices": []}


def test_a_machine_with_a_driver_and_no_gpu_has_none() -> None:
    assert gpus.Asker(needed=False, nvml=Library()).ask() == (gpus.NONE, True)


def wait_for(watch: gpus.Watch, state: str) -> dict[str, Any]:
    limit = time.monotonic() + 20
    while (found := watch.state())["state"] != state:
        assert time.monotonic() < limit, found
        time.sleep(0.02)
    return found


@pytest.fixture
def watch() -> Iterator[Callable[..., gpus.Watch]]:
    """Return a function: Python code that stands in for the process that asks -> a watch of it."""
    made: list[gpus.Watch] = []

    def make(code: str, *, needed: bool = False) -> gpus.Watch:
        made.append(gpus.Watch(needed=needed, command=(sys.executable, "-c", f"import json, os, sys, time\n{code}")))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each._stop()


OK = "print(json.dumps({'state': 'ok', 'reason': '', 'devices': [{'index': 0}]}), flush=True)"


@without_driver
def test_the_real_process_says_none_and_ends_by_itself_unless_a_gpu_is_needed(caplog: Any) -> None:
    caplog.set_level("INFO", logger=gpus.__name__)
    none = gpus.Watch(needed=False)
    none.start()
    process = none._process
    assert process is not None and process.wait(30) == 0
    assert none.state() == gpus.NONE and none._process is None and not caplog.records
    needed = gpus.Watch(needed=True)
    needed.start()
    assert wait_for(needed, "lost")["reason"] == "NVML Shared Library Not Found"
    assert needed.state()["state"] == "lost" and needed._process is not None and needed._process.poll() is None
    assert [record.levelname for record in caplog.records] == ["ERROR"], "logged once, not each second"
    needed._stop()


def test_a_driver_that_hangs_holds_up_nobody_is_a_loss_and_is_asked_anew(
    monkeypatch: pytest.MonkeyPatch, watch: Callable[..., gpus.Watch], tmp_path: Path
) -> None:
    monkeypatch.setattr(gpus, "SILENT_AFTER_SECONDS", 1.0)
    # Hangs after its first word; the one after it does not.
    mark = tmp_path / "mark"
    code = f"first = not os.path.exists({str(mark)!r}); open({str(mark)!r}, 'w').close()"
    found = watch(f"{code}\nwhile True:\n {OK}\n time.sleep(60 if first else 0.1)")
    assert wait_for(found, "ok")["devices"] == [{"index": 0}]
    hanging = found._process
    assert hanging is not None
    begun = time.monotonic()
    assert "has not answered" in wait_for(found, "lost")["reason"]
    assert time.monotonic() - begun < 3
    begun = time.monotonic()
    found.state()
    assert time.monotonic() - begun < 0.1
    wait_for(found, "ok")
    assert hanging.wait(5) == -signal.SIGKILL and found._process is not hanging


def test_what_asks_is_started_again_when_it_dies(
    monkeypatch: pytest.MonkeyPatch, watch: Callable[..., gpus.Watch]
) -> None:
    monkeypatch.setattr(gpus, "SILENT_AFTER_SECONDS", 0.5)
    found = watch(f"{OK}\nsys.exit(3)")
    first = found._process
    wait_for(found, "ok")
    limit = time.monotonic() + 20
    while found._process is first:
        assert time.monotonic() < limit
        found.state()
        time.sleep(0.05)
    wait_for(found, "ok")


def test_a_machine_that_never_had_a_gpu_does_not_miss_one(
    monkeypatch: pytest.MonkeyPatch, watch: Callable[..., gpus.Watch]
) -> None:
    monkeypatch.setattr(gpus, "SILENT_AFTER_SECONDS", 0.2)
    found = watch("time.sleep(60)")
    time.sleep(0.5)
    assert found.state() == gpus.NONE


@pytest.mark.parametrize(
    ("queue", "device", "watches"),
    [("gpu", "auto", True), ("gpu", "cuda", True), ("gpu", "cpu", False), ("default", "cuda", False)],
)
def test_only_a_worker_that_may_compute_on_a_gpu_watches_them(
    settings: Any, queue: str, device: str, watches: bool
) -> None:
    settings.ENGINE_DEVICE = device
    said = Vitals(queue).say()
    assert ("gpu" in said) is watches


def test_what_a_work_horse_holds_is_told_by_its_worker_and_added_up_over_all() -> None:
    wire = django_rq.get_connection("gpu")
    before = counters.totals(wire)
    vitals = Vitals("default")
    child = os.fork()
    if child == 0:
        vitals.tell_cache({"hits": 2, "misses": 3, "evictions": 1, "held": 2})
        vitals.tell_cache({"hits": 7, "misses": 3, "evictions": 1, "held": 2})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert vitals.say()["cache"] == {"hits": 7, "misses": 3, "evictions": 1, "held": 2}
    after = counters.totals(wire)
    grown = {
        key: after.get((f"model_cache_{key}",), 0) - before.get((f"model_cache_{key}",), 0)
        for key in ("hits", "misses")
    }
    assert grown == {"hits": 7, "misses": 3}
    vitals.forget_cache()
    assert vitals.say()["cache"]["held"] == 0
