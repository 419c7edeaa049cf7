"""``manage.py test``: the checks and the tests, as CI runs them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
POSTGRES = Path("/usr/lib/postgresql")
SWIFT = Path("/usr/bin/swift-proxy-server")
# Asked by every package that brings a service whether it may start it.
POLICY = Path("/usr/sbin/policy-rc.d")
APT_SECONDS = 900
CHECK_SECONDS = 900
TEST_SECONDS = 3 * 3600
# As many files of tests at a time as there are processors, but not more than there is memory for; in the order that
# they are collected in, which begins with what takes minutes.
SIDE_BY_SIDE = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]


def main(arguments: list[str]) -> int:
    """Run everything, pytest last so that its summary stands at the end; with arguments pytest alone, with those.

    Returns 0 when all passed. Under ``CI=true`` a missing browser is a failure, and the slow tests run too.
    """
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    # The tests of these are slow ones; they fail under CI where one is missing.
    if in_ci and not POSTGRES.is_dir():
        install_packages("postgresql")
    if in_ci and not SWIFT.exists():
        install_packages("swift-proxy", "swift-account", "swift-container", "swift-object")
    if in_ci and shutil.which("promtool") is None:
        install_packages("prometheus")
    if in_ci and shutil.which("redis-server") is None:
        install_packages("redis-server")
    if not has_browser():
        if in_ci:
            print("Chromium is missing and could not be installed: under CI the browser tests must run.")
            return 1
        print("The browser tests are skipped: Chromium is missing (apt-get install chromium, as root).")
    if arguments:
        return pytest(arguments)
    failed = [name for name, command in checks() if run(name, command)]
    wanted = "" if in_ci else " and not slow"
    status = pytest(["-m", f"not alone{wanted}", *SIDE_BY_SIDE])
    status = pytest(["-m", f"alone{wanted}"]) or status
    if failed:
        print(f"Failed before the tests: {', '.join(failed)}.")
    return 1 if failed else status


def checks() -> list[tuple[str, list[str]]]:
    """Return the name and the command of each check."""
    python = sys.executable
    return [
        ("ruff check", [python, "-m", "ruff", "check", "."]),
        ("ruff format", [python, "-m", "ruff", "format", "--check", "."]),
        ("mypy", [python, "-m", "mypy"]),
        ("missing migrations", [python, str(ROOT / "manage.py"), "makemigrations", "--check", "--dry-run"]),
    ]


def run(name: str, command: list[str]) -> int:
    """Run one check, say what it is; return its exit status."""
    print(f"--- {name}", flush=True)
    return subprocess.run(command, cwd=ROOT, timeout=CHECK_SECONDS).returncode


def pytest(arguments: list[str]) -> int:
    """Run pytest; return its exit status."""
    print("--- pytest", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, timeout=TEST_SECONDS).returncode


def has_browser() -> bool:
    """Say whether there is a Chromium, after trying to install Debian's when we may."""
    if any(shutil.which(name) for name in BROWSERS):
        return True
    return install_packages("chromium") and shutil.which("chromium") is not None


def install_packages(*names: str) -> bool:
    """Install some of Debian's packages when we may; say whether that worked."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return False
    print(f"Installing Debian's {', '.join(names)} for the tests ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with services_stay_off():
        for arguments in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *names]):
            command = ["apt-get", *arguments]
            try:
                done = subprocess.run(command, env=environment, timeout=APT_SECONDS, stdout=subprocess.DEVNULL)
            except subprocess.TimeoutExpired:
                return False
            if done.returncode:
                return False
    return True


@contextlib.contextmanager
def services_stay_off(rule: Path = POLICY) -> Iterator[None]:
    """Let Debian's packages start no service meanwhile: tests start their own. A machine's own rule stays as it is."""
    if rule.exists():
        yield
        return
    rule.write_text("#!/bin/sh\nexit 101\n")
    rule.chmod(0o755)
    try:
        yield
    finally:
        rule.unlink()
