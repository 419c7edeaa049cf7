"""A PostgreSQL of Debian's for the time of a test: a new cluster in a folder of its own, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from apps.jobs.lifeline import die_with_parent
from tests.stack import free_port

# The server refuses to run as root; Debian's package makes this account for it.
ACCOUNT = "postgres"


def programs() -> Path | None:
    """The folder with initdb and postgres of the newest version that is installed, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@dataclass
class Server:
    """A running cluster. ``crash`` stops it as a power cut would; ``start`` brings it back at the same address."""

    address: str
    _command: list[str]
    _data: Path
    _host: str
    _port: int
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self._data / "log"
        with log.open("ab") as output:
            end = partial(die_with_parent, os.getpid())
            self._process = subprocess.Popen(
                self._command, cwd=self._data, stdout=output, stderr=output, preexec_fn=end, **_account()
            )
        ready = [str(Path(self._command[0]).parent / "pg_isready"), "-q", "-h", self._host, "-p", str(self._port)]
        limit = time.monotonic() + 60
        while subprocess.run(ready, timeout=10).returncode:
            assert self._process.poll() is None and time.monotonic() < limit, log.read_text()[-2000:]
            time.sleep(0.1)

    def crash(self) -> None:
        """Stop it without letting anything end: open transactions are lost, the log is replayed at the next start."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def stop(self) -> None:
        """Stop it with all its connections."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)


@contextmanager
def server(folder: Path, host: str = "127.0.0.1") -> Iterator[Server]:
    """Start a server whose programs are in `folder`, with an empty database, on `host` alone; end it afterwards."""
    data, port = Path(tempfile.mkdtemp(prefix="vcp-")), free_port()
    if os.geteuid() == 0:
        shutil.chown(data, ACCOUNT, ACCOUNT)
    cluster = str(data / "cluster")
    make = [str(folder / "initdb"), "-D", cluster, "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--no-sync"]
    entry = f"host all all {host}/24 trust\n"
    serve = [str(folder / "postgres"), "-D", cluster, "-p", str(port), "-k", str(data)]
    # Nothing of it outlives the test, and no power is cut, so it need not wait for the disk.
    serve += ["-c", f"listen_addresses={host}", "-c", "fsync=off"]
    running = Server(f"postgres://{ACCOUNT}@{host}:{port}/postgres", serve, data, host, port)
    try:
        subprocess.run(make, check=True, cwd=data, stdout=subprocess.DEVNULL, timeout=120, **_account())
        with (data / "cluster" / "pg_hba.conf").open("a") as rules:
            rules.write(entry)
        running.start()
        yield running
    finally:
        running.stop()
        shutil.rmtree(data, ignore_errors=True)


def _account() -> dict[str, Any]:
    return {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}


def require() -> Path:
    """Return the folder of the programs; skip the test without them, or fail it under CI."""
    folder = programs()
    if folder is None:
        reason = "PostgreSQL is missing (apt-get install postgresql, as root)"
        assert os.environ.get("CI", "").lower() not in ("1", "true"), reason
        pytest.skip(reason)
    return folder
