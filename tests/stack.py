"""The real thing for tests: web, Valkey and workers, started by ``manage.py up`` in a folder of their own."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from apps.jobs.lifeline import die_with_parent

ROOT = Path(__file__).resolve().parent.parent
# Set for the tests in this process; the stack has its own.
UNWANTED = (
    "REDIS_URL",
    "DATABASE_URL",
    "SITE_URL",
    "JOBS_INLINE",
    "DEFAULT_CONVERTER",
    "SECRET_KEY",
    "VOICECLOUD_DATA",
    "EMAIL_URL",
)
START_SECONDS = 300.0
# Runs code that comes as JSON lines, in one Django that stays: starting it anew takes more than a second.
SHELL = """
import contextlib, json, os, sys, traceback
sys.path.insert(0, os.getcwd())
import django
django.setup()
from django.db import connections
for line in sys.stdin:
    given, code = json.loads(line)
    names = dict(given)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            exec(code, names)
        outcome = {"result": names.get("result")}
    except Exception:
        outcome = {"error": traceback.format_exc()}
    connections.close_all()
    print(json.dumps(outcome, default=str), flush=True)
"""


@dataclass
class Stack:
    """A running site."""

    url: str
    data: Path
    process: subprocess.Popen[str]
    environment: dict[str, str]
    log: Path
    _shell: subprocess.Popen[str] | None = None

    def django(self, code: str, *, timeout: float = 120.0, **given: Any) -> Any:
        """Run Python code in the site's own Django and return what it assigns to ``result``, as JSON carries it.

        ``given`` are names that the code may use (JSON values). What the code raises fails the test.
        """
        if self._shell is None or self._shell.poll() is not None:
            self._shell = subprocess.Popen(
                [sys.executable, "-c", SHELL],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**self.environment, "DJANGO_SETTINGS_MODULE": "voicecloud.settings"},
                cwd=ROOT,
                text=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(json.dumps([given, code]) + "\n")
        self._shell.stdin.flush()
        assert select.select([self._shell.stdout], [], [], timeout)[0], f"no answer within {timeout} s to:\n{code}"
        outcome = json.loads(self._shell.stdout.readline())
        assert "error" not in outcome, outcome["error"]
        return outcome["result"]

    def close_shell(self) -> None:
        """End the process that ``django`` uses."""
        if self._shell is not None:
            self._shell.kill()
            self._shell.communicate()
            self._shell = None

    def processes(self) -> dict[int, str]:
        """Return the process numbers and command lines of all that lives in this stack, but for zombies."""
        mark = f"VOICECLOUD_DATA={self.data}\0".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "environ").read_bytes()
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            shell = self._shell is not None and self._shell.pid == int(folder.name)
            if line and not shell and (mark in words or str(self.data) in line):
                found[int(folder.name)] = line
        return found

    def worker(self, queue: str) -> int:
        """Return the process number of the worker of a queue (not of the work-horse it forked)."""
        lines = self.processes()
        return next(
            pid for pid, line in lines.items() if f" worker {queue}" in line and _parent(pid) == self.process.pid
        )

    def wait_until(self, says: Any, *, seconds: float, every: float = 0.25) -> None:
        """Return when ``says()`` is true; fail after ``seconds``."""
        limit = time.monotonic() + seconds
        while not says():
            assert time.monotonic() < limit, f"not within {seconds} s:\n{self.log.read_text()[-4000:]}"
            time.sleep(every)

    def stop(self, number: int = signal.SIGINT, *, seconds: float = 30.0) -> int:
        """Send a signal to ``up`` and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)


def _parent(pid: int) -> int:
    return int((Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[1])


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    """Say whether the address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def running(data: Path, *more: str, **environment: str) -> Iterator[Stack]:
    """Start a stack with the toy converter on a free port; stop it at the end, whatever happens.

    ``more`` are further words of the command line. ``environment`` adds to or replaces the settings it runs with.
    """
    port = free_port()
    own = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    own |= {"DEFAULT_CONVERTER": "toy", "LOG_LEVEL": "INFO", **environment}
    log = data / "up.log"
    data.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port), "--data", str(data), *more],
            env=own,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            process_group=0,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
    url = f"http://127.0.0.1:{port}"
    redis = f"unix://{data}/redis.sock?db=0"
    seen = {**own, "VOICECLOUD_DATA": str(data), "REDIS_URL": redis, "SITE_URL": url}
    stack = Stack(url, data, process, seen, log)
    try:
        limit = time.monotonic() + START_SECONDS
        # First pages, then a worker for each queue; those take longer, and each question that fails is logged there.
        for page, pause in (("healthz", 0.2), ("readyz", 2.0)):
            while not answers(f"{url}/{page}"):
                assert process.poll() is None, f"up ended with {process.returncode}:\n{log.read_text()[-4000:]}"
                assert time.monotonic() < limit, f"{page} fails after {START_SECONDS} s:\n{log.read_text()[-4000:]}"
                time.sleep(pause)
        yield stack
    finally:
        stack.close_shell()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def short_folder() -> Path:
    """Return a new folder whose path is short enough for a unix socket in it."""
    return Path(tempfile.mkdtemp(prefix="vcs-")).resolve()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One running site for all tests of the session that drive it from outside."""
    data = short_folder()
    with running(data) as site:
        yield site
    shutil.rmtree(data, ignore_errors=True)
