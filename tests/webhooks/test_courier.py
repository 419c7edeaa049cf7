"""The outbox is emptied: at least once, by one courier at a time, on schedule, and no receiver holds up the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone

from apps.accounts.models import AuditEvent, Workspace
from apps.jobs.lifeline import die_with_parent
from apps.webhooks import courier, sending, services
from apps.webhooks.courier import Courier
from apps.webhooks.models import Delivery, Endpoint, Status
from tests.accounts.test_member_race import at_once
from tests.stack import ROOT
from tests.webhooks.receivers import Receiver, answer, listening

pytestmark = pytest.mark.django_db(transaction=True)
Make = Callable[..., Endpoint]


def announce(endpoint: Endpoint, count: int = 1, event: str = "job.done") -> None:
    for number in range(count):
        services.announce(workspace_pk=endpoint.workspace_id, event=event, data=lambda n=number: {"number": n})


def make_due() -> None:
    Delivery.objects.filter(status=Status.WAITING).update(next_attempt_at=timezone.now())


# --- the outbox


def test_what_is_rolled_back_is_never_sent(endpoint: Endpoint, receiver: Receiver) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        announce(endpoint)
        assert Delivery.objects.count() == 1
        raise ZeroDivisionError
    Courier().run_until_empty()
    assert Delivery.objects.count() == 0 and receiver.received == []


def test_only_who_wants_an_event_gets_it(endpoint: Endpoint, make_endpoint: Make, receiver: Receiver) -> None:
    make_endpoint(receiver.url + "/failed", events=["job.failed"])
    make_endpoint(receiver.url + "/off", enabled=False)
    announce(endpoint)
    announce(endpoint, event="job.failed")
    Courier().run_until_empty()
    got = sorted((one.path, one.json()["type"]) for one in receiver.received)
    assert got == [("/hooks", "job.done"), ("/hooks", "job.failed"), ("/hooks/failed", "job.failed")]


def test_nobody_wants_it_and_nobody_is_asked_for_it(acme: Any) -> None:
    def never() -> dict[str, Any]:
        raise AssertionError("asked")

    assert services.announce(workspace_pk=acme.pk, event="job.done", data=never) == 0


def test_a_deleted_workspace_sends_nothing_until_it_is_restored(endpoint: Endpoint, receiver: Receiver) -> None:
    announce(endpoint)
    type(endpoint.workspace).objects.update(deleted_at=timezone.now())
    announce(endpoint)
    Courier().run_until_empty()
    assert receiver.received == []
    type(endpoint.workspace).objects.update(deleted_at=None)
    Courier().run_until_empty()
    assert len(receiver.received) == 1


# --- the schedule


def test_a_failing_receiver_is_tried_on_schedule_and_then_given_up(endpoint: Endpoint, receiver: Receiver) -> None:
    receiver.behave = answer(500, b"broken")
    announce(endpoint)
    waits = []
    for _ in range(20):
        before = timezone.now()
        Courier().run_until_empty()
        delivery = Delivery.objects.get()
        if delivery.next_attempt_at is None:
            break
        waits.append(delivery.next_attempt_at - before)
        Courier().run_until_empty()  # not due yet
        make_due()
    assert delivery.status == Status.FAILED and delivery.ended_at is not None
    assert len(receiver.received) == delivery.attempts == delivery.log.count() == 9
    for wait, planned in zip(waits, services.RETRY_AFTER, strict=True):
        assert planned <= wait < planned + timedelta(seconds=5)
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
    assert {attempt.error for attempt in delivery.log.all()} == {"The receiver answered 500."}
    endpoint.refresh_from_db()
    assert endpoint.enabled and endpoint.failing_since is not None


def test_a_receiver_that_recovers_gets_it(endpoint: Endpoint, receiver: Receiver) -> None:
    receiver.behave = answer(503)
    announce(endpoint)
    Courier().run_until_empty()
    receiver.behave = answer(204)
    make_due()
    Courier().run_until_empty()
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts) == (Status.DELIVERED, 2)
    assert [attempt.status_code for attempt in delivery.log.all()] == [503, 204]
    endpoint.refresh_from_db()
    assert endpoint.failing_since is None


def test_after_five_days_of_failures_it_is_switched_off_and_the_owner_told(
    endpoint: Endpoint, receiver: Receiver, alice: Any
) -> None:
    receiver.behave = answer(500)
    announce(endpoint, 2)
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=5, minutes=1))
    Courier().run_until_empty()
    endpoint.refresh_from_db()
    assert endpoint.enabled  # these two have tries left
    Delivery.objects.update(retries=len(services.RETRY_AFTER))
    make_due()
    Courier().run_until_empty()
    endpoint.refresh_from_db()
    assert not endpoint.enabled and "5 days" in endpoint.disabled_reason
    assert [letter.to for letter in mail.outbox] == [[alice.email]]
    assert endpoint.url in mail.outbox[0].body and str(endpoint.code) in mail.outbox[0].body
    event = AuditEvent.objects.get(action="webhook.disabled")
    assert event.user is None and event.target == endpoint.url
    announce(endpoint)
    assert Delivery.objects.count() == 2


def test_a_test_event_alone_switches_nothing_off(endpoint: Endpoint, receiver: Receiver, alice: Any) -> None:
    receiver.behave = answer(500)
    Endpoint.objects.update(failing_since=timezone.now() - timedelta(days=9))
    services.send_test(endpoint=endpoint, user=alice)
    Courier().run_until_empty()
    endpoint.refresh_from_db()
    assert endpoint.enabled and Delivery.objects.get().status == Status.FAILED


def test_410_switches_off_at_once(endpoint: Endpoint, receiver: Receiver) -> None:
    receiver.behave = answer(410)
    announce(endpoint)
    Courier().run_until_empty()
    endpoint.refresh_from_db()
    assert not endpoint.enabled and "410" in endpoint.disabled_reason
    assert (Delivery.objects.get().status, len(receiver.received)) == (Status.FAILED, 1)


def test_a_secret_that_cannot_be_read_is_our_fault_and_stops_nobody_else(
    endpoint: Endpoint, make_endpoint: Make, receiver: Receiver
) -> None:
    make_endpoint(receiver.url, sealed_secret="sealed by a key that is lost")
    announce(endpoint)
    Courier().run_until_empty()
    states = sorted(Delivery.objects.values_list("status", "log__error"))
    assert states[0] == ("delivered", "")
    assert states[1][0] == "waiting" and "on our side (error " in states[1][1]


# --- who sends


def claim_without_the_guard(room: int, reached: threading.Barrier) -> list[int]:
    """Claim as it would be without the condition: look what is due, then write."""
    due = list(Delivery.objects.filter(status=Status.WAITING, claimed_until=None).values_list("pk", flat=True)[:room])
    reached.wait(timeout=10)
    Delivery.objects.filter(pk__in=due).update(claimed_until=timezone.now() + courier.CLAIMED_FOR)
    return due


def test_without_the_guard_two_couriers_send_the_same(endpoint: Endpoint) -> None:
    announce(endpoint)
    reached, got = threading.Barrier(2), []
    raised = at_once(*[lambda: got.extend(claim_without_the_guard(1, reached)) for _ in range(2)])
    assert raised == [None, None] and len(got) == 2 and len(set(got)) == 1


def test_two_couriers_never_claim_the_same(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    announce(endpoint)
    looked = threading.Barrier(2)
    real = courier._under_way

    def both_have_looked() -> Any:
        found = real()
        looked.wait(timeout=10)
        return found

    monkeypatch.setattr(courier, "_under_way", both_have_looked)
    got: list[Delivery] = []
    for attempt in range(1, 11):
        assert at_once(*[lambda: got.extend(courier.claim(room=1)) for _ in range(2)]) == [None, None]
        assert len(got) == attempt
        courier.release(got[-1])


def test_many_couriers_send_each_once(endpoint: Endpoint, make_endpoint: Make, receiver: Receiver) -> None:
    for number in range(4):
        make_endpoint(f"{receiver.url}/{number}")
    announce(endpoint, 8)
    raised = at_once(*[lambda: Courier().run_until_empty() for _ in range(4)])
    assert raised == [None] * 4
    limit = time.monotonic() + 20  # what one courier saw claimed by another may be left for a moment
    while Delivery.objects.filter(status=Status.WAITING).exists():
        assert time.monotonic() < limit
        Courier().run_until_empty()
    ids = [one.headers["webhook-id"] for one in receiver.received]
    assert len(ids) == len(set(ids)) == 40
    assert set(Delivery.objects.values_list("attempts", flat=True)) == {1}


def test_an_attempt_that_was_given_up_for_lost_writes_nothing(endpoint: Endpoint, receiver: Receiver) -> None:
    announce(endpoint)
    (late,) = courier.claim(room=1)
    Delivery.objects.update(claimed_until=timezone.now() - timedelta(seconds=1))
    Courier().run_until_empty()
    assert Delivery.objects.get().status == Status.DELIVERED
    sent = courier.attempt(late)
    assert not courier.record(sent)
    delivery = Delivery.objects.get()
    assert (delivery.attempts, delivery.log.count()) == (2, 1)


@contextmanager
def delivering_here() -> Iterator[None]:
    """Run a courier in a thread of this process, which ends with the test whatever becomes of it."""
    running = Courier()
    thread = threading.Thread(target=lambda: (running.run(), connection.close()))
    thread.start()
    try:
        yield
    finally:
        running.stopping = True
        thread.join(30)
    assert not thread.is_alive()


def test_a_receiver_that_never_answers_holds_up_nobody(
    endpoint: Endpoint, make_endpoint: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending.post, "__kwdefaults__", {"seconds": 4.0})
    with listening() as slow:
        slow.behave = lambda handler: time.sleep(6)
        stuck = make_endpoint(slow.url, events=["job.failed"])
        announce(stuck, 40, event="job.failed")
        Delivery.objects.filter(endpoint=endpoint).delete()
        announce(endpoint, 40)
        begun = time.monotonic()
        with delivering_here():
            receiver.wait_for(40, seconds=30)
            took = time.monotonic() - begun
            held = len(slow.received)
    # 40 wait for the slow one since before; had they their turn first, the quick ones would wait for a minute.
    assert held <= courier.OF_AN_ENDPOINT * (1 + took / 4.0)
    assert slow.most_at_once <= courier.OF_AN_ENDPOINT
    assert receiver.most_at_once <= courier.OF_AN_ENDPOINT


def test_without_the_bounds_it_would_hold_up_everybody(
    endpoint: Endpoint, make_endpoint: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending.post, "__kwdefaults__", {"seconds": 60.0})
    monkeypatch.setattr(courier, "OF_AN_ENDPOINT", 1000)
    monkeypatch.setattr(courier, "OF_A_WORKSPACE", 1000)
    let_go = threading.Event()
    with listening() as slow:
        slow.behave = lambda handler: let_go.wait(60)
        announce(make_endpoint(slow.url, events=["job.failed"]), 40, event="job.failed")
        Delivery.objects.exclude(endpoint__url=slow.url).delete()
        with delivering_here():
            try:
                slow.wait_for(courier.AT_ONCE, seconds=30)
                announce(endpoint)
                time.sleep(1.5)
                assert receiver.received == []
            finally:
                let_go.set()
            receiver.wait_for(1, seconds=30)


@pytest.mark.django_db(transaction=True)
def test_however_many_fail_half_the_room_is_for_those_that_do_not(endpoint: Endpoint, make_endpoint: Make) -> None:
    """One person may own many workspaces, each with receivers that never answer."""
    for number in range(courier.AT_ONCE):
        owner = Workspace.objects.create(name=f"Other {number}", slug=f"other-{number}")
        failing = make_endpoint(f"http://127.0.0.1:1/{number}", workspace=owner, failing_since=timezone.now())
        announce(failing, 3)
    announce(endpoint, 1)  # the youngest of all
    claimed = courier.claim(room=courier.AT_ONCE)
    assert claimed and endpoint.pk in {delivery.endpoint_id for delivery in claimed}
    assert len(claimed) == courier.AT_ONCE // 2 + 1
    assert courier.claim(room=courier.AT_ONCE) == [], "half the room is kept free"
    announce(endpoint, 1)
    assert [delivery.endpoint_id for delivery in courier.claim(room=courier.AT_ONCE)] == [endpoint.pk]


def test_one_workspace_gets_its_share_and_no_more(endpoint: Endpoint, make_endpoint: Make, charlies: Any) -> None:
    for number in range(5):
        make_endpoint(f"http://127.0.0.1:1/{number}")
    other = make_endpoint("http://127.0.0.1:1/", workspace=charlies)
    announce(endpoint, 3)
    announce(other, 3)
    claimed = courier.claim(room=32)
    per = [delivery.endpoint.workspace_id for delivery in claimed]
    assert per.count(endpoint.workspace_id) == courier.OF_A_WORKSPACE
    assert per.count(charlies.pk) == courier.OF_AN_ENDPOINT
    assert courier.claim(room=32) == []


# --- the process


@contextmanager
def delivering(**more: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``manage.py deliver`` on the database of this test."""
    given = connection.settings_dict
    address = f"sqlite:///{given['NAME']}"
    if connection.vendor == "postgresql":
        address = f"postgres://{given['USER']}@{given['HOST']}:{given['PORT']}/{given['NAME']}"
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "deliver"],
        env={**os.environ, "DATABASE_URL": address, "WEBHOOK_ALLOW_PRIVATE": "true", **more},
        cwd=ROOT,
        text=True,
        stderr=subprocess.PIPE,
        preexec_fn=partial(die_with_parent, os.getpid()),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_killed_amid_a_delivery_it_is_sent_again_by_the_next(endpoint: Endpoint, receiver: Receiver) -> None:
    receiver.behave = lambda handler: time.sleep(8)
    announce(endpoint)
    with delivering() as first:
        receiver.wait_for(1, seconds=30)
        first.kill()
        first.wait(10)
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts, delivery.log.count()) == (Status.WAITING, 1, 0)
    assert delivery.claimed_until is not None
    # Nobody else sends it while the claim holds; then the next one does.
    Courier().run_until_empty()
    assert len(receiver.received) == 1
    receiver.behave = answer(204)
    Delivery.objects.update(claimed_until=timezone.now() + timedelta(seconds=1))
    with delivering():
        receiver.wait_for(2, seconds=30)
        limit = time.monotonic() + 10
        while Delivery.objects.get().status == Status.WAITING:
            assert time.monotonic() < limit
            time.sleep(0.05)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == (Status.DELIVERED, 2)
    assert len({one.headers["webhook-id"] for one in receiver.received}) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_within_its_grace_and_gives_back_what_it_holds(
    endpoint: Endpoint, receiver: Receiver, number: int
) -> None:
    receiver.behave = lambda handler: time.sleep(9)
    announce(endpoint)
    with delivering() as process:
        receiver.wait_for(1, seconds=30)
        process.send_signal(number)
        begun = time.monotonic()
        assert process.wait(12) == 0
        assert time.monotonic() - begun < courier.GRACE_SECONDS + 4, "later than `up` would wait for it"
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.claimed_until) == (Status.WAITING, None)
    receiver.behave = answer(204)
    Courier().run_until_empty()
    assert Delivery.objects.get().status == Status.DELIVERED
