"""All that stores and reads files, once more in a bucket of a real object store: what a folder forgives shows there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import swift

ROOT = Path(__file__).resolve().parent.parent
SUITE = ("jobs", "voices", "studio", "accounts/test_team.py", "pages/test_health.py", "test_tenancy.py")
ELSEWHERE = (
    "jobs/test_worker_process.py",  # drives a whole site by `up`, as tests/browser/test_direct.py does on a bucket
    "jobs/test_download.py",  # how the site itself sends a file; from a bucket, test_storage.py
    "jobs/test_orphans.py",  # turns the clock of files in a folder back; in a bucket, test_storage.py
    "jobs/test_life.py",  # stores nothing, as the next
    "jobs/test_resident.py",
    "voices/test_bad_files.py",  # refused before anything is stored
)
# Of the addresses, those that send a file: the others are the same whatever the storage is.
FILES_ALONE = "not test_tenancy or test_files_are_served"

pytestmark = pytest.mark.slow


def test_the_suite_passes_on_swift() -> None:
    swift.skip_unless_installed()
    with swift.server() as server:
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow"]
        command += ["-k", FILES_ALONE, *(str(ROOT / "tests" / name) for name in SUITE)]
        command += [f"--ignore={ROOT / 'tests' / name}" for name in ELSEWHERE]
        unwanted = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_CURRENT_TEST")
        environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        environment |= {f"TEST_{name}": value for name, value in server.settings.items()}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1500)
        stored = server.client().list_objects_v2(Bucket=server.bucket, Prefix="w/")["KeyCount"]
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
    assert stored > 100, "the files did lie in the bucket"
