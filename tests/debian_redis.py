"""Debian's Redis for the time of a test, as operators run it: over TCP, with a password."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis

from apps.jobs.lifeline import die_with_parent
from tests.stack import free_port


def require() -> str:
    """Return the program; skip the test without it, or fail it under CI."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is missing (apt-get install redis-server, as root)"
        assert os.environ.get("CI", "").lower() not in ("1", "true"), reason
        pytest.skip(reason)
    return program


@contextmanager
def server(program: str, host: str = "127.0.0.1") -> Iterator[str]:
    """Start an empty server that listens on `host` alone; give its address; end it afterwards."""
    folder, port, password = Path(tempfile.mkdtemp(prefix="vcr-")), free_port(), secrets.token_hex(16)
    command = [program, "--port", str(port), "--bind", host, "--requirepass", password, "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"]
    with (folder / "log").open("wb") as log:
        end = partial(die_with_parent, os.getpid())
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=end)
    address = f"redis://:{password}@{host}:{port}/0"
    try:
        limit = time.monotonic() + 30
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < limit, (folder / "log").read_text()[-2000:]
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(address: str) -> bool:
    try:
        with redis.Redis.from_url(address, socket_timeout=1) as wire:
            return bool(wire.ping())
    except redis.RedisError:
        return False
