"""Machines of a test's own: network namespaces on one bridge, each with an address and a disk folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from apps.jobs.lifeline import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
BRIDGE = "vcbridge"
NETWORK = "10.213.7"
HOST = f"{NETWORK}.1"  # where the machines reach what the test itself runs: database, Redis, storage


@dataclass
class Machine:
    """One machine: its processes see no other network than the bridge, and nobody else's files."""

    name: str
    address: str
    folder: Path
    environment: Mapping[str, str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What its processes print."""
        return self.folder / "log"

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start one of the site's own commands here, in a process group of its own."""
        words = ["ip", "netns", "exec", self.name, sys.executable, str(ROOT / "manage.py"), *command]
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                words,
                cwd=ROOT,
                env={**self.environment, "VOICECLOUD_DATA": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        self.processes[" ".join(command)] = process
        return process

    def lose_power(self) -> None:
        """Kill all that runs here at once, and forget what its disk held."""
        for process in self.processes.values():
            _kill_group(process)
        self.processes.clear()
        shutil.rmtree(self.folder / "jobs", ignore_errors=True)

    def stop(self, command: str, *, seconds: float) -> float:
        """Ask a process to stop (SIGTERM), as a deployment does; return how long it took. Fails after `seconds`."""
        began, process = time.monotonic(), self.processes[command]
        process.terminate()
        process.wait(seconds)
        del self.processes[command]
        return time.monotonic() - began


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def require() -> None:
    """Skip the test where namespaces cannot be made; under CI it fails then."""
    if os.geteuid() == 0 and shutil.which("ip") and _ip("netns", "add", "vcprobe", check=False):
        _ip("netns", "del", "vcprobe")
        return
    reason = "network namespaces need root and Debian's iproute2"
    assert os.environ.get("CI", "").lower() not in ("1", "true"), reason
    pytest.skip(reason)


@contextmanager
def network() -> Iterator[None]:
    """Make the bridge, with the test itself at `HOST`; remove it afterwards."""
    _ip("link", "del", BRIDGE, check=False)  # left by a run that was killed
    _ip("link", "add", BRIDGE, "type", "bridge")
    try:
        _ip("addr", "add", f"{HOST}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        yield
    finally:
        _ip("link", "del", BRIDGE)


@contextmanager
def machines(count: int, environment: Mapping[str, str]) -> Iterator[list[Machine]]:
    """Give so many machines on the bridge, whose processes get `environment`; take all of them down afterwards."""
    with ExitStack() as stack:
        yield [stack.enter_context(_machine(number, environment)) for number in range(1, count + 1)]


@contextmanager
def _machine(number: int, environment: Mapping[str, str]) -> Iterator[Machine]:
    name, address, wire = f"vcmachine{number}", f"{NETWORK}.{10 + number}", f"vcwire{number}"
    folder = Path(tempfile.mkdtemp(prefix="vcm-"))
    _ip("netns", "del", name, check=False)
    _ip("link", "del", wire, check=False)
    _ip("netns", "add", name)
    machine = Machine(name, address, folder, environment)
    try:
        _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", wire, "master", BRIDGE, "up")
        _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield machine
    finally:
        machine.lose_power()
        _ip("netns", "del", name)
        shutil.rmtree(folder, ignore_errors=True)


def _ip(*words: str, check: bool = True) -> bool:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0 or not check, f"ip {' '.join(words)}: {done.stderr}"
    return done.returncode == 0
