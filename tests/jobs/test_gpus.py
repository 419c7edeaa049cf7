"""What a worker says of its GPUs. No test needs one: NVML's own structures are filled by hand here."""

from __future__ import annotations

import ctypes
import time
from typing import Any

import pynvml
import pytest

from apps.jobs import gpus
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


def lost() -> pynvml.NVMLError:
    return pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)


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


@pytest.mark.skipif(HAS_DRIVER, reason="this machine has NVIDIA's driver")
def test_without_a_driver_there_is_none_and_the_watch_ends_unless_one_is_needed(caplog: Any) -> None:
    watch = gpus.Watch(needed=False)
    assert watch.ask() is False
    assert watch.state() == {"state": "none", "reason": "", "devices": []}
    assert not caplog.records
    needed = gpus.Watch(needed=True)
    assert needed.ask() is True and needed.ask() is True
    assert needed.state() == {"state": "lost", "reason": "NVML Shared Library Not Found", "devices": []}
    assert [record.levelname for record in caplog.records] == ["ERROR"], "logged once, not each second"


def test_a_gpu_that_goes_is_lost_and_found_again(caplog: Any) -> None:
    caplog.set_level("INFO", logger=gpus.__name__)
    library = Library("NVIDIA L4")
    watch = gpus.Watch(needed=False, nvml=library)
    assert watch.ask() and watch.ask()
    assert watch.state()["state"] == "ok" and library.opened == 1
    library.broken = lost()
    assert watch.ask() and watch.ask()
    assert watch.state() == {"state": "lost", "reason": "GPU is lost", "devices": []}
    assert library.closed == 1, "the next question begins anew"
    library.broken = None
    assert watch.ask()
    assert watch.state()["state"] == "ok"
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_driver_that_hangs_holds_up_nobody_and_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "SILENT_AFTER_SECONDS", 0.3)
    monkeypatch.setattr(gpus, "EVERY_SECONDS", 0.05)
    library = Library("NVIDIA L4")
    watch = gpus.Watch(needed=False, nvml=library)
    watch.start()
    wait_for(watch, "ok")
    monkeypatch.setattr(library, "nvmlDeviceGetCount", lambda: time.sleep(1.5) or 1)
    wait_for(watch, "lost")
    begun = time.monotonic()
    assert "has not answered" in watch.state()["reason"]
    assert time.monotonic() - begun < 0.1
    wait_for(watch, "ok")


def wait_for(watch: gpus.Watch, state: str) -> None:
    limit = time.monotonic() + 10
    while watch.state()["state"] != state:
        assert time.monotonic() < limit
        time.sleep(0.02)


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


def test_a_worker_says_what_it_does() -> None:
    vitals = Vitals("default")
    vitals.began("a-code")
    assert vitals.say()["job"] == "a-code" and vitals.say()["job_since"] > 0
    vitals.ended()
    vitals.cache = {"hits": 3, "held": 1}
    said = vitals.say()
    assert (said["job"], said["done"], said["cache"]) == ("", 1, {"hits": 3, "held": 1})
