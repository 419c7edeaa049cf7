"""All that asks the database, once more on PostgreSQL: what SQLite forgives, and locks of single rows, show there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import postgres

ROOT = Path(__file__).resolve().parent.parent
SUITE = (
    "accounts",
    "jobs",
    "pages",
    "studio",
    "voices",
    "webhooks",
    "test_admin.py",
    "test_security.py",
    "test_tenancy.py",
)
# Drives a whole site by `up`, whose database is SQLite.
ELSEWHERE = "jobs/test_worker_process.py"

pytestmark = pytest.mark.slow


def test_the_suite_passes_on_postgresql() -> None:
    with postgres.server(postgres.require()) as server:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
        command += [str(ROOT / "tests" / name) for name in SUITE]
        command += [f"--ignore={ROOT / 'tests' / ELSEWHERE}"]
        unwanted = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_CURRENT_TEST")
        environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        environment["TEST_DATABASE_URL"] = server.address
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
