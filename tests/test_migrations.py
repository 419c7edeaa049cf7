"""Migrations run while the site is used: on a large database nobody waits long, and every one can be undone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations import AddField

from tests import postgres

ROOT = Path(__file__).resolve().parent.parent
ROWS = 200_000
LONGEST_WAIT_SECONDS = 2.0
# As the first version of the tables was: what was there before the migrations that are tried.
FILL = f"""
INSERT INTO accounts_workspace (code, name, slug, personal, created_at)
    SELECT gen_random_uuid(), 'w' || n, 'w' || n, false, now() FROM generate_series(1, 100) n;
INSERT INTO jobs_job (code, workspace_id, kind, title, task, queue, url, status, stage, progress, message, error_id,
                      attempt, checkpoint_attempt, checkpoint, worker, time_limit, created_at, started_at,
                      progress_at_start, ended_at)
    SELECT gen_random_uuid(), w.id, 'conversion', 'A title', 'none', 'gpu', '', 'done', '', 1, '', '', 1, 0, '', 'w',
           60, now(), now(), 0, now()
    FROM accounts_workspace w, generate_series(1, {ROWS} / 100) n;
INSERT INTO accounts_auditevent (workspace_id, action, target, data, created_at)
    SELECT w.id, 'voice.deleted', 'Anna', '{{}}', now() FROM accounts_workspace w, generate_series(1, {ROWS} / 100) n;
ANALYZE;
"""
USE = (
    "INSERT INTO accounts_workspace (code, name, slug, personal, created_at)"
    " VALUES (gen_random_uuid(), 'new', gen_random_uuid()::text, false, now())",
    "INSERT INTO jobs_job (code, workspace_id, kind, title, task, queue, url, status, stage, progress, message,"
    " error_id, attempt, checkpoint_attempt, checkpoint, worker, time_limit, created_at, progress_at_start) VALUES"
    " (gen_random_uuid(), 1, 'test', 'x', 'y', 'gpu', '', 'queued', '', 0, '', '', 0, 0, '', '', 60, now(), 0)",
    "SELECT count(*) FROM jobs_job WHERE workspace_id = 1 AND status = 'running'",
    "UPDATE jobs_job SET stage = 'busy' WHERE id = 7",
    "INSERT INTO accounts_auditevent (workspace_id, action, target, data, created_at)"
    " VALUES (1, 'x', 'y', '{}', now())",
    "SELECT name FROM accounts_workspace WHERE slug = 'w5'",
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with postgres.server(postgres.require()) as server:
        yield server.address


def manage(address: str, folder: Path, *words: str) -> str:
    environment = {**os.environ, "DATABASE_URL": address, "VOICECLOUD_DATA": str(folder)}
    command = [sys.executable, str(ROOT / "manage.py"), *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class Users(threading.Thread):
    """Somebody who uses the site all the time, and notes how long each statement took."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.address, self.over, self.waits = address, threading.Event(), [0.0]
        self.failed: list[str] = []

    def run(self) -> None:
        with psycopg.connect(self.address, autocommit=True) as wire:
            while not self.over.is_set():
                for statement in USE:
                    began = time.monotonic()
                    try:
                        wire.execute(statement)
                    except psycopg.Error as error:
                        self.failed.append(f"{statement}: {error}")
                    self.waits.append(time.monotonic() - began)
                time.sleep(0.005)


@pytest.mark.slow
def test_a_site_in_use_is_updated_without_a_long_wait(address: str, tmp_path: Path) -> None:
    for app in ("accounts", "jobs"):
        manage(address, tmp_path, "migrate", app, "0001")
    with psycopg.connect(address, autocommit=True) as wire:
        wire.execute(FILL)
    users = [Users(address) for _ in range(3)]
    for user in users:
        user.start()
    began = time.monotonic()
    manage(address, tmp_path, "prepare")
    took = time.monotonic() - began
    for user in users:
        user.over.set()
        user.join(30)
    waits = sorted(wait for user in users for wait in user.waits)
    print(f"migrated in {took:.1f} s beside {len(waits)} statements, the slowest of which took {waits[-1]:.2f} s")
    assert len(waits) > 100
    assert waits[-1] < LONGEST_WAIT_SECONDS
    # What an old process writes goes on working until it is replaced.
    assert not [failure for user in users for failure in user.failed]


@pytest.mark.slow
def test_every_migration_of_ours_can_be_undone_and_done_again(address: str, tmp_path: Path) -> None:
    manage(address, tmp_path, "migrate")
    own = sorted({path.parent.parent.name for path in (ROOT / "apps").glob("*/migrations/0001_*.py")})
    for app in own:
        manage(address, tmp_path, "migrate", app, "0001")
    manage(address, tmp_path, "migrate")
    assert "[ ]" not in manage(address, tmp_path, "showmigrations", "--plan")


@pytest.mark.slow
def test_two_machines_that_are_updated_at_once_wait_for_each_other(address: str, tmp_path: Path) -> None:
    with psycopg.connect(address, autocommit=True) as wire:
        wire.execute("DROP SCHEMA public CASCADE")
        wire.execute("CREATE SCHEMA public")
    raised: list[BaseException] = []

    def update(number: int) -> None:
        try:
            manage(address, tmp_path / str(number), "prepare")
        except AssertionError as error:
            raised.append(error)

    machines = [threading.Thread(target=update, args=(number,)) for number in range(2)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(300)
    assert raised == []


def test_what_a_migration_adds_to_a_table_needs_no_value_from_older_processes() -> None:
    """They go on writing while a new version is rolled out, and know nothing of the new column."""
    own = {path.parent.parent.name for path in (ROOT / "apps").glob("*/migrations/0001_*.py")}
    loader = MigrationLoader(None)
    added = [
        (name, operation)
        for (app, name), migration in loader.disk_migrations.items()
        if app in own and not migration.initial
        for operation in migration.operations
        if isinstance(operation, AddField)
    ]
    needs = [
        f"{name}: {operation.model_name}.{operation.name}"
        for name, operation in added
        if not (operation.field.null or operation.field.has_db_default() or operation.field.many_to_many)
    ]
    assert len(added) > 10
    assert needs == [], "give it db_default"
