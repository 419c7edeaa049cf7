"""How much memory a process may still take on this machine."""

from __future__ import annotations

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
