"""How much memory a process may still take on this machine, and how to tell that there was not enough."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTROL_GROUP = Path("/sys/fs/cgroup")


def available_bytes(meminfo: Path = MEMINFO, control_group: Path = CONTROL_GROUP) -> int:
    """Bytes that can be taken without swapping: what the kernel says, or what the control group has left if less.

    Raises OSError where there is no /proc/meminfo.
    """
    lines = meminfo.read_text(encoding="ascii").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    limit, used = control_group / "memory.max", control_group / "memory.current"
    if limit.is_file() and used.is_file() and (text := limit.read_text(encoding="ascii").strip()) != "max":
        free = min(free, max(0, int(text) - int(used.read_text(encoding="ascii"))))
    return free


_WORDS = (
    "not enough memory",
    "can't allocate memory",
    "bad_alloc",
    "STATUS_ALLOC_FAILED",
    "could not create a primitive",  # oneDNN's, which says no more than that
)


def ran_out(error: BaseException) -> bool:
    """Says whether an error means that memory could not be had, on the processor or on a graphics card."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    # On the processor torch and its libraries raise a plain RuntimeError.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def trim() -> None:
    """Gives the system back what is free in this process."""
    with contextlib.suppress(AttributeError, OSError):  # the C library is not glibc, which alone keeps so much
        ctypes.CDLL(None).malloc_trim(0)


def release() -> None:
    """Gives back what nothing refers to any more, to the system and on the graphics card too."""
    gc.collect()
    trim()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
