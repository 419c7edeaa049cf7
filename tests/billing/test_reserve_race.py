"""Fifty submits at once against an allowance for ten. First the race without the lock, then that there is none."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.accounts import keys
from apps.accounts.models import ApiKey, Membership
from apps.billing.errors import QuotaExceeded
from apps.billing.models import Subscription, UsageEvent
from apps.billing.plans import PLANS
from apps.billing.services import ledger, subscriptions
from apps.jobs.models import Job
from apps.jobs.services import submit
from tests.accounts.test_member_race import at_once
from tests.jobs import bodies

pytestmark = pytest.mark.django_db(transaction=True)
EACH = PLANS["free"].limits["convert_seconds"] // 10  # type: ignore[operator]
SUBMITS = 50


@pytest.fixture(autouse=True)
def _on_the_free_plan(acme: Any, settings: Any) -> None:
    settings.JOBS_INLINE = False
    subscriptions.subscription_of(acme)
    Subscription.objects.filter(workspace=acme).update(plan="free")


def submit_all(workspace: Any, user: Any) -> list[Exception | None]:
    def one() -> None:
        submit(
            workspace=workspace,
            user=user,
            kind="conversion",
            title="A song",
            task=bodies.succeed,
            queue="gpu",
            meter="convert_seconds",
            amount=EACH,
        )

    return at_once(*[one] * SUBMITS)


def names(raised: list[Exception | None]) -> dict[str, int]:
    kinds = [type(error).__name__ for error in raised]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def test_an_allowance_for_ten_lets_exactly_ten_of_fifty_through(acme: Any, bob: Any) -> None:
    raised = submit_all(acme, bob)
    assert names(raised) == {"NoneType": 10, "QuotaExceeded": 40}
    assert UsageEvent.objects.count() == Job.objects.count() == 10
    assert Job.objects.filter(usage=None).count() == 0
    assert ledger.balance(acme, "convert_seconds").left == 0


def test_without_the_lock_more_get_through(acme: Any, bob: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite lets one writer in at a time, lock or not: this runs on PostgreSQL (tests/test_servers.py)")
    monkeypatch.setattr(ledger, "locked", subscriptions.subscription_of)
    charge = ledger._charge

    def later(*args: Any) -> None:
        time.sleep(0.2)  # between looking and writing: long enough for others to look
        charge(*args)

    monkeypatch.setattr(ledger, "_charge", later)
    raised = submit_all(acme, bob)
    assert names(raised)["NoneType"] > 10
    assert sum(event.from_plan for event in UsageEvent.objects.all()) > 10 * EACH


def test_a_job_settled_and_released_at_once_ends_one_way(acme: Any, bob: Any) -> None:
    event = ledger.reserve(workspace=acme, meter="convert_seconds", amount=EACH, key="job:1", user=bob)
    said: list[bool] = []
    calls = [lambda: said.append(ledger.settle(event.pk)), lambda: said.append(ledger.release(event.pk))] * 5
    assert at_once(*calls) == [None] * 10
    assert said.count(True) == 1
    event.refresh_from_db()
    assert event.ended_at is not None and event.state in ("settled", "released")


def test_a_reservation_that_expires_while_others_ask_is_given_out_once(acme: Any, bob: Any) -> None:
    left = 10 * EACH
    old = ledger.reserve(workspace=acme, meter="convert_seconds", amount=left, key="job:dead", user=bob)
    UsageEvent.objects.filter(pk=old.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    calls: list[Any] = [
        lambda number=number: ledger.reserve(workspace=acme, meter="convert_seconds", amount=left, key=f"job:{number}")
        for number in range(10)
    ]
    raised = at_once(*calls, lambda: ledger.settle(old.pk))
    old.refresh_from_db()
    through = raised[:10].count(None)
    assert all(error is None or isinstance(error, QuotaExceeded) for error in raised)
    assert through * left + old.spent <= left
    assert old.spent + old.waived == left, "what was delivered is charged or waived, never lost"


def test_a_key_with_a_cap_passes_it_never(acme: Any, bob: Any, alice: Any) -> None:
    membership = Membership.objects.get(workspace=acme, user=bob)
    key, _ = keys.issue(membership=membership, name="Robot", scope="create", caps={"convert_seconds": 3 * EACH})
    lock = threading.Lock()
    through = []

    def one(number: int) -> None:
        event = ledger.reserve(
            workspace=acme, meter="convert_seconds", amount=EACH, key=f"job:{number}", api_key=ApiKey.objects.get()
        )
        with lock:
            through.append(event)

    raised = at_once(*[lambda number=number: one(number) for number in range(8)])
    assert (len(through), len([error for error in raised if error])) == (3, 5)
    assert "this API key may use 0 s more" in str(next(error for error in raised if error))
    assert {event.api_key_id for event in UsageEvent.objects.all()} == {key.pk}
