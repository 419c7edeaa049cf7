"""What a worker says of itself with each sign of life: where it runs, what it does, how its GPUs are."""

from __future__ import annotations

import mmap
import socket
import struct
import time
from typing import Any

from django.conf import settings

from apps.jobs import counters
from apps.jobs.gpus import Watch

_KEYS = ("hits", "misses", "evictions", "held")
_FORM = struct.Struct("4Q")


class Vitals:
    """Kept by the worker process, told through ``apps.jobs.presence``. ``job`` is the code of the job that runs.

    The voices are cached in the work-horse: it writes how many into memory that both share.
    """

    def __init__(self, queue: str) -> None:
        self.since = time.time()
        self.job = ""
        computes = queue == "gpu" and settings.ENGINE_DEVICE != "cpu"
        self.gpus = Watch(needed=settings.ENGINE_DEVICE == "cuda") if computes else None
        self._shared = mmap.mmap(-1, _FORM.size)
        self._told = dict.fromkeys(_KEYS, 0)

    def start(self) -> None:
        """Begin to watch the GPUs, if this worker may use one."""
        if self.gpus is not None:
            self.gpus.start()

    def tell_cache(self, now: dict[str, int]) -> None:
        """In the work-horse: add to all machines' sums what its cache did since it told this last."""
        for key in ("hits", "misses", "evictions"):
            if more := now[key] - self._told[key]:
                counters.count(f"model_cache_{key}", by=more)
        self._told = now
        self._shared[:] = _FORM.pack(*(now[key] for key in _KEYS))

    def forget_cache(self) -> None:
        """The work-horse is gone, and what it held with it."""
        self._shared[:] = bytes(_FORM.size)

    def say(self) -> dict[str, Any]:
        """Return all of it as JSON values; ``since`` is in seconds since 1970 by this machine's clock."""
        cache = dict(zip(_KEYS, _FORM.unpack(self._shared[:]), strict=True))
        said: dict[str, Any] = {"host": socket.gethostname(), "since": self.since, "job": self.job, "cache": cache}
        if self.gpus is not None:
            said["gpu"] = self.gpus.state()
        return said
