"""What NVIDIA's management library says of this machine's GPUs: how busy, full and warm, and whether they are there.

It is asked in a process of its own. The worker forks, and nothing of NVIDIA's may be in use there; and a driver that
hangs then holds up nothing but the next answer, whose absence is itself one: the GPU is lost.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pynvml

from apps.jobs.lifeline import die_with_parent

log = logging.getLogger(__name__)
EVERY_SECONDS = 1.0
SILENT_AFTER_SECONDS = 10.0
NEEDED = "needed"
COMMAND = (sys.executable, "-m", "apps.jobs.gpus")
ROOT = Path(__file__).resolve().parent.parent.parent
# Nothing is wrong with a machine that has no NVIDIA driver, or one but no GPU.
_ABSENT = (
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_NOT_FOUND,
    pynvml.NVML_ERROR_GPU_NOT_FOUND,
)
NONE: dict[str, Any] = {"state": "none", "reason": "", "devices": []}


def read(nvml: Any = pynvml) -> list[dict[str, Any]]:
    """Return each GPU: ``index``, ``name``, ``utilisation`` (0..1), ``memory_used`` and ``memory_total`` (bytes) and
    ``temperature`` (degrees Celsius); a figure that this model does not have is None. ``nvml`` is initialised.

    Raises pynvml.NVMLError when a GPU does not answer.
    """
    return [_device(nvml, index) for index in range(nvml.nvmlDeviceGetCount())]


def _device(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = _known(nvml.nvmlDeviceGetMemoryInfo, handle)
    rates = _known(nvml.nvmlDeviceGetUtilizationRates, handle)
    return {
        "index": index,
        "name": nvml.nvmlDeviceGetName(handle),
        "utilisation": None if rates is None else rates.gpu / 100.0,
        "memory_used": None if memory is None else memory.used,
        "memory_total": None if memory is None else memory.total,
        "temperature": _known(nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
    }


def _known(question: Any, *given: Any) -> Any:
    """Return the answer; None where the GPU has no such figure, as with a part of a shared one."""
    try:
        return question(*given)
    except pynvml.NVMLError as error:
        if error.value in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION):
            return None
        raise


class Asker:
    """Asks the library. ``needed``: none is a loss too; once a GPU was seen it is needed."""

    def __init__(self, *, needed: bool, nvml: Any = pynvml) -> None:
        self.needed = needed
        self._nvml = nvml
        self._is_open = False

    def ask(self) -> tuple[dict[str, Any], bool]:
        """Return ``state`` (none: there is no GPU and need be none; ok; lost), ``reason`` and ``devices``; and whether
        it is worth to ask again: without a driver none comes later either."""
        try:
            if not self._is_open:
                self._nvml.nvmlInit()
                self._is_open = True
            devices = read(self._nvml)
            problem, again = "" if devices else "this machine has no GPU", True
        except pynvml.NVMLError as error:
            devices, problem = [], str(error)
            again = self.needed or error.value not in _ABSENT
            self._close()
        self.needed = self.needed or bool(devices)
        if problem and self.needed:
            return {"state": "lost", "reason": problem, "devices": []}, again
        return {"state": "ok", "reason": "", "devices": devices} if devices else NONE, again

    def _close(self) -> None:
        """Let go of the library, so that the next question begins anew."""
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(pynvml.NVMLError):
                self._nvml.nvmlShutdown()


def main(needed: bool) -> None:
    """Write a line of JSON each second, until there is no more to ask."""
    asker, again = Asker(needed=needed), True
    while again:
        state, again = asker.ask()
        sys.stdout.write(json.dumps(state) + "\n")
        sys.stdout.flush()
        time.sleep(EVERY_SECONDS if again else 0.0)


class Watch:
    """The worker's end: starts the process that asks, starts it again when it dies or hangs, and knows its last line.

    ``needed``: this worker cannot work without a GPU.
    """

    def __init__(self, *, needed: bool, command: Sequence[str] = COMMAND) -> None:
        self._needed, self._command = needed, command
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._last = NONE
        self._heard_at = self._started_at = time.monotonic()
        self._shown = "none"

    def start(self) -> None:
        """Begin to ask."""
        self._started_at = time.monotonic()
        self._rest = b""
        self._process = subprocess.Popen(
            [*self._command, *([NEEDED] if self._needed else [])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def state(self) -> dict[str, Any]:
        """Return what was last heard, as ``Asker.ask`` does; it waits for nothing."""
        now = time.monotonic()
        if self._process is not None:
            self._listen(now)
            self._look_after(now)
        silent = now - self._heard_at
        state = self._last
        if self._process is not None and silent > SILENT_AFTER_SECONDS:
            reason = f"the driver has not answered for {silent:.0f} s"
            state = {"state": "lost", "reason": reason, "devices": []} if self._needed else NONE
        if state["state"] != self._shown:
            level = logging.ERROR if state["state"] == "lost" else logging.INFO
            log.log(level, "GPUs: %s %s", state["state"], state["reason"])
            self._shown = state["state"]
        return state

    def _listen(self, now: float) -> None:
        assert self._process is not None and self._process.stdout is not None
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._process.stdout.fileno(), 65536):
                self._rest += more
        *lines, self._rest = self._rest.split(b"\n")
        if lines:
            self._last, self._heard_at = json.loads(lines[-1]), now
            self._needed = self._needed or self._last["state"] == "ok"

    def _look_after(self, now: float) -> None:
        """End what has said that there is none; start again what died or hangs, at most every ten seconds."""
        assert self._process is not None
        status = self._process.poll()
        if status == 0 and self._last["state"] == "none":
            self._stop()
        elif now - max(self._started_at, self._heard_at) > SILENT_AFTER_SECONDS:
            self._stop()
            self.start()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # what hangs in the driver goes when the driver lets it
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


if __name__ == "__main__":
    main(NEEDED in sys.argv[1:])
