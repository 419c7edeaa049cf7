"""Twenty people add a voice at the same moment where three fit: first the race itself, then that there is none.

Both need rows that can be locked one by one, so on SQLite this file runs itself again on a PostgreSQL of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from apps.billing.errors import QuotaExceeded
from apps.billing.models import Subscription
from apps.billing.plans import PLANS
from apps.billing.services import holdings
from apps.voices.services import voices
from tests import postgres

CALLS, LIMIT = 20, 3
ROWS_CAN_BE_LOCKED = settings.DATABASES["default"]["ENGINE"] != "django.db.backends.sqlite3"
on_postgres = pytest.mark.skipif(not ROWS_CAN_BE_LOCKED, reason="runs on the PostgreSQL of the test below")


def at_once(call: Callable[[int], Any]) -> list[Exception | None]:
    """Call it with 0 to 19 in threads that start together; return what each raised."""
    start = threading.Barrier(CALLS)
    raised: list[Exception | None] = [None] * CALLS

    def run(index: int) -> None:
        try:
            start.wait(timeout=30)
            call(index)
        except Exception as error:  # noqa: BLE001  # handed back to the test, which looks at it
            raised[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(CALLS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
        assert not thread.is_alive()
    return raised


@pytest.fixture
def crowd(acme: Any, bob: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """Return a function by which one of twenty makes a voice in a workspace whose plan holds three."""
    monkeypatch.setitem(PLANS["creator"].limits, "voices", LIMIT)  # type: ignore[arg-type]
    Subscription.objects.create(workspace=acme, plan="creator")
    return lambda number: voices.create_voice(workspace=acme, user=bob, name=f"Voice {number}")


@on_postgres
@pytest.mark.django_db(transaction=True)
def test_without_the_lock_more_are_made_than_fit(
    acme: Any, crowd: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "locked", lambda workspace: Subscription.objects.get(workspace=workspace))
    save = voices._save

    def save_slowly(voice: Any) -> None:
        time.sleep(0.5)  # others count before this one is there
        save(voice)

    monkeypatch.setattr(voices, "_save", save_slowly)
    assert at_once(crowd).count(None) == acme.voices.count() > LIMIT


@on_postgres
@pytest.mark.django_db(transaction=True)
def test_with_it_exactly_as_many_as_fit(acme: Any, crowd: Callable[[int], Any]) -> None:
    raised = at_once(crowd)
    assert acme.voices.count() == LIMIT
    assert sum(error is None for error in raised) == LIMIT
    assert {type(error) for error in raised if error is not None} == {QuotaExceeded}


@pytest.mark.skipif(ROWS_CAN_BE_LOCKED, reason="this is PostgreSQL already")
def test_on_postgresql_the_lock_is_what_keeps_it() -> None:
    with postgres.server(postgres.require()) as server:
        environment = {**os.environ, "TEST_DATABASE_URL": server.address}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "2 passed" in done.stdout, done.stdout[-2000:]
