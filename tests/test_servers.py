"""The suite once more on the servers of a large installation: PostgreSQL, Debian's Redis, and files in OpenStack Swift.

What SQLite forgives, locks of single rows, and what a folder can do that a bucket cannot, show there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests import debian_redis, postgres, swift

ROOT = Path(__file__).resolve().parent
SUITE = ("accounts", "api", "billing", "jobs", "pages", "studio", "voices", "webhooks")
# Walks of every address store a workspace's files again for each: on the two other servers alone.
WALKS = (
    "test_admin.py",
    "test_security.py",
    "test_tenancy.py",
    "api/test_api_tenancy.py",
    "api/test_compat_tenancy.py",
)
# These look into the folder that files lie in; what they show is shown of a bucket in tests/test_storage.py and
# tests/test_keeping_in_a_bucket.py.
IN_A_FOLDER = (
    "api/test_files.py",
    "billing/test_holdings.py",
    "jobs/test_download.py",
    "jobs/test_orphans.py",
    "jobs/test_work_folder.py",
    "pages/test_export.py",
)
# No database and no storage plays a part here.
ELSEWHERE = (
    "jobs/test_worker_process.py",  # drives a whole site by `up`; tests/faults/test_machines.py does on these servers
    "jobs/test_resident.py",
    "api/sdk",
    "voices/test_bad_files.py",  # refused before anything is stored
)

pytestmark = pytest.mark.slow


def run(names: tuple[str, ...], but: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Run test files, but some, in a pytest of their own, with these settings; fail with what it printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not slow"]
    command += [str(ROOT / name) for name in names] + [f"--ignore={ROOT / name}" for name in but]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=ROOT.parent, env={**own, **environment}, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert " passed" in done.stdout
    print(done.stdout.splitlines()[-1])


def test_the_suite_passes_on_postgresql_redis_and_swift() -> None:
    swift.skip_unless_installed()
    programs, redis = postgres.require(), debian_redis.require()
    with swift.server() as store, postgres.server(programs) as database, debian_redis.server(redis) as queue:
        servers = {"TEST_DATABASE_URL": database.address, "TEST_REDIS_URL": queue}
        run(
            SUITE,
            ELSEWHERE + IN_A_FOLDER + WALKS,
            servers | {f"TEST_{name}": value for name, value in store.settings.items()},
        )
        stored = store.client().list_objects_v2(Bucket=store.bucket, Prefix="w/")["KeyCount"]
    assert stored > 100, "the files did lie in the bucket"


def test_every_address_is_walked_on_postgresql_and_redis() -> None:
    programs, redis = postgres.require(), debian_redis.require()
    with postgres.server(programs) as database, debian_redis.server(redis) as queue:
        run(WALKS + IN_A_FOLDER, (), {"TEST_DATABASE_URL": database.address, "TEST_REDIS_URL": queue})
