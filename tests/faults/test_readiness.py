"""A running site whose parts die: readiness says so within five seconds, and says when they are back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import postgres, swift
from tests.stack import Stack, running, short_folder

SOON = 5.0
AWAY = 20.0


def checks(site: Stack) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{site.url}/readyz", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)["checks"]
    except urllib.error.HTTPError as refused:
        assert refused.code == 503
        found = json.load(refused)["checks"]
    return found


def seconds_until(site: Stack, name: str, ok: bool) -> float:
    begun = time.monotonic()
    site.wait_until(lambda: checks(site)[name]["ok"] is ok, seconds=60, every=0.2)
    return time.monotonic() - begun


def test_a_worker_that_hangs_is_missed_and_found_again(stack: Stack) -> None:
    pid = stack.worker("gpu")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert seconds_until(stack, "workers", ok=False) < SOON
        assert checks(stack)["workers"]["reason"] == "no worker for gpu"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert seconds_until(stack, "workers", ok=True) < SOON


def test_the_place_of_a_worker_that_is_killed_is_taken_by_another(stack: Stack) -> None:
    pid = stack.worker("default")
    os.kill(pid, signal.SIGKILL)
    time.sleep(SOON)
    # Whichever comes first: nobody is there, which is said, or the next one has begun.
    missing = checks(stack)["workers"].get("reason") == "no worker for default"
    assert missing or stack.worker("default") != pid
    assert seconds_until(stack, "workers", ok=True) < 30
    assert stack.worker("default") != pid


def test_redis_that_dies_is_missed_at_once_and_works_again_when_it_is_back(stack: Stack) -> None:
    valkey = next(pid for pid, line in stack.processes().items() if "valkey" in line and "server" in line)
    os.kill(valkey, signal.SIGSTOP)
    try:
        assert seconds_until(stack, "redis", ok=False) < SOON
    finally:
        os.kill(valkey, signal.SIGCONT)
    assert seconds_until(stack, "redis", ok=True) < SOON
    os.kill(valkey, signal.SIGKILL)
    seconds_until(stack, "redis", ok=True)
    seconds_until(stack, "workers", ok=True)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Stack, postgres.Server, swift.Server]]:
    """A site whose database and storage are servers, as in production."""
    swift.skip_unless_installed()
    folder = short_folder()
    with ExitStack() as servers:
        database = servers.enter_context(postgres.server(postgres.require()))
        store = servers.enter_context(swift.server())
        yield (
            servers.enter_context(running(folder, DATABASE_URL=database.address, **store.settings)),
            database,
            store,
        )
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_database_that_crashes_is_missed_at_once_and_works_again(
    served: tuple[Stack, postgres.Server, swift.Server],
) -> None:
    site, database, _ = served
    database.crash()
    try:
        assert seconds_until(site, "database", ok=False) < SOON
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{site.url}/invitations/unknown/", timeout=20)
        assert (refused.value.code, refused.value.headers["Retry-After"]) == (503, "30")
        time.sleep(AWAY)  # long enough for tries with growing pauses to lie far apart
    finally:
        database.start()
    begun = time.monotonic()
    site.wait_until(lambda: all(checks(site)["database"]["ok"] for _ in range(8)), seconds=60, every=0.2)
    assert time.monotonic() - begun < 2 * SOON, "each of the web processes has found it again"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["database", "storage"])
def test_a_server_that_hangs_is_missed_at_once_and_works_again(
    served: tuple[Stack, postgres.Server, swift.Server], part: str
) -> None:
    site, database, store = served
    port = urlsplit(database.address if part == "database" else store.endpoint).port
    hung = listening_on(port or 0)
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert seconds_until(site, part, ok=False) < SOON
    finally:
        for pid in hung:
            os.kill(pid, signal.SIGCONT)
    assert seconds_until(site, part, ok=True) < 2 * SOON, "what waited is worked off first"


def listening_on(port: int) -> list[int]:
    """Return the processes that hold the listening socket of a port, and what they have started."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    holders = {int(path.parts[2]) for path in Path("/proc").glob("[0-9]*/fd/*") if _target(path) in inodes}
    assert holders
    started = {pid for pid in map(int, _numbers()) if _parent(pid) in holders}
    return sorted(holders | started)


def _numbers() -> list[str]:
    return [path.name for path in Path("/proc").glob("[0-9]*")]


def _parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except FileNotFoundError:
        return 0


def _target(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
