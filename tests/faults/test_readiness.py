"""A running site whose parts die: readiness says so within five seconds, and says when they are back."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from typing import Any

from tests.stack import Stack

SOON = 5.0


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
