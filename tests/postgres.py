"""A PostgreSQL of Debian's for the time of a test: a new cluster in a folder of its own, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from apps.jobs.lifeline import die_with_parent
from tests.stack import free_port

# The server refuses to run as root; Debian's package makes this account for it.
ACCOUNT = "postgres"


def programs() -> Path | None:
    """The folder with initdb and postgres of the newest version that is installed, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Start a server whose programs are in `folder`; give the address of its first database; end it afterwards."""
    data = Path(tempfile.mkdtemp(prefix="vcp-"))
    user = {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []} if os.geteuid() == 0 else {}
    if user:
        shutil.chown(data, ACCOUNT, ACCOUNT)
    make = [
        str(folder / "initdb"),
        "-D",
        str(data / "cluster"),
        "-U",
        ACCOUNT,
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    port, log = free_port(), data / "log"
    serve = [str(folder / "postgres"), "-D", str(data / "cluster"), "-p", str(port), "-k", str(data)]
    # Nothing of it outlives the test, so it need not wait for the disk.
    serve += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    process = None
    try:
        subprocess.run(make, check=True, cwd=data, stdout=subprocess.DEVNULL, timeout=120, **user)  # type: ignore[call-overload]
        with log.open("wb") as output:
            end = partial(die_with_parent, os.getpid())
            process = subprocess.Popen(serve, cwd=data, stdout=output, stderr=output, preexec_fn=end, **user)  # type: ignore[call-overload]
        ready = [str(folder / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        limit = time.monotonic() + 60
        while subprocess.run(ready, timeout=10).returncode:
            assert process.poll() is None and time.monotonic() < limit, log.read_text()[-2000:]
            time.sleep(0.1)
        yield f"postgres://{ACCOUNT}@127.0.0.1:{port}/postgres"
    finally:
        if process is not None:
            process.terminate()
            process.wait(30)
        shutil.rmtree(data, ignore_errors=True)
