"""``manage.py up``: one command, one instance for a folder, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import ROOT, Stack, answers, free_port, running, short_folder
from voicecloud.up import WEB_PROCESSES

LOGIN = "First log-in (shown only now): admin@localhost"


@pytest.fixture
def folder() -> Iterator[Path]:
    path = short_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


def up(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Return how an ``up`` that is to be refused ended."""
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--data", str(folder), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)


def nothing_left(site: Stack) -> bool:
    return not site.processes()


def test_it_starts_from_an_empty_folder_keeps_its_state_to_itself_and_ctrl_c_leaves_nothing(folder: Path) -> None:
    with running(folder) as site:
        log = site.log.read_text()
        assert LOGIN in log
        assert f"voicecloud answers on {site.url}/" in log
        parts = " ".join(site.processes().values())
        for part in ("valkey-server", "web --fd", "worker gpu", "worker default", "sweep --every", "deliver"):
            assert part in parts
        for private in (folder / "secret-key", folder / "redis.sock"):
            assert private.stat().st_mode & 0o077 == 0
        second = up(folder, "--port", str(free_port()))
        assert second.returncode == 1
        assert f"already running on {folder} (process {site.process.pid})" in second.stderr
        assert len(second.stderr.splitlines()) == 1
        assert site.stop(signal.SIGINT) == 0
        assert nothing_left(site)
        assert not answers(f"{site.url}/healthz")

    began = time.monotonic()
    with running(folder) as again:
        assert (
            time.monotonic() - began < 60
        )  # pages within 10 s on an idle machine; here workers too, beside other tests
        assert again.log.read_text().count(LOGIN) == 1
        assert again.stop(signal.SIGTERM) == 0
        assert nothing_left(again)


def test_kill_9_leaves_neither_process_nor_lock(folder: Path) -> None:
    with running(folder) as site:
        assert len(site.processes()) >= 7
        site.process.kill()
        site.process.wait(10)
        site.wait_until(lambda: nothing_left(site), seconds=10)
    with running(folder) as again:
        assert again.process.poll() is None


def test_a_part_that_dies_is_started_again(folder: Path) -> None:
    with running(folder) as site:

        def found() -> list[int]:
            parts = site.processes().items()
            return [pid for pid, line in parts if "web --fd" in line or "valkey-server" in line]

        site.wait_until(lambda: len(found()) == WEB_PROCESSES + 1, seconds=30)
        victims = found()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        site.wait_until(lambda: len(found()) == len(victims) and not set(found()) & set(victims), seconds=30)
        site.wait_until(lambda: answers(f"{site.url}/healthz"), seconds=30)
        site.wait_until(lambda: answers(f"{site.url}/readyz"), seconds=90)


def test_a_port_that_is_taken_is_said_in_one_sentence(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = up(folder, "--port", str(port))
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        f"Cannot listen on 127.0.0.1 port {port} (Address already in use); choose another port with --port."
    )


def test_a_folder_with_a_long_path_gets_a_short_socket(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    with running(deep, REDIS_URL="") as site:
        assert not (deep / "redis.sock").exists()
        web = next(pid for pid, line in site.processes().items() if "web --fd" in line)
        environment = (Path("/proc") / str(web) / "environ").read_bytes().decode().split("\0")
        redis = next(value for value in environment if value.startswith("REDIS_URL="))
        address = Path(redis.removeprefix("REDIS_URL=unix://").removesuffix("?db=0"))
        assert address.is_socket()
        assert address.parent.stat().st_mode & 0o077 == 0
        assert site.stop() == 0
        assert not address.parent.exists()


@pytest.mark.parametrize(
    ("more", "environment"),
    [
        (["--host", "0.0.0.0"], {}),
        ([], {"SITE_URL": "https://voice.example.com"}),
        ([], {"SITE_URL": "http://voice.example.com"}),
        ([], {"STRIPE_SECRET_KEY": "sk_live_x"}),
    ],
    ids=["host", "https", "name", "key"],
)
def test_plans_are_given_away_on_nobodys_public_site(
    folder: Path, more: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SITE_URL", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused = up(folder, "--demo-billing", "--port", str(free_port()), *more)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1 and "--demo-billing" in refused.stderr
