"""Events: signed or refused, stored once, handled in any order and any number of times, and tried again."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.test import Client
from django.utils import timezone

from apps.billing import stripe
from apps.billing.models import Grant, StripeEvent, Subscription
from apps.billing.services import money, sync, webhook
from apps.billing.stripe import Facts
from apps.errors import Refused
from tests.stack import ROOT
from tests.stripe_server import LocalStripe, Post, sign

URLS = {"done_url": "http://127.0.0.1:8000/done", "back_url": "http://127.0.0.1:8000/back"}


def bought(shop: LocalStripe, workspace: Any, user: Any, plan: str = "studio") -> Subscription:
    """Buy a plan and let the site know it."""
    url = money.start_checkout(workspace=workspace, user=user, plan=plan, **URLS)
    shop.pay(url.rsplit("/", 1)[1])
    return sync.sync(Subscription.objects.get(workspace=workspace))


@pytest.fixture
def event(shop: LocalStripe, acme: Any, alice: Any) -> str:
    """An event about acme that was not delivered yet."""
    bought(shop, acme, alice)
    return next(code for code in shop.pending if shop.by_id[code]["type"] == "customer.subscription.created")


def test_an_event_is_stored_once_and_handled_once(shop: LocalStripe, event: str, post: Post) -> None:
    asked = len(shop.requests)
    assert [post(*shop.signed(event)) for _ in range(3)] == [200, 200, 200]
    row = StripeEvent.objects.get()
    assert row.event == event and row.type == "customer.subscription.created" and row.about.startswith("sub_")
    assert (row.tries, row.error) == (1, "") and row.handled_at is not None
    assert len(shop.requests) == asked + 3  # subscriptions, paid pages, open pages


@pytest.mark.parametrize("forged", ["secret", "body", "none", "old", "young", "empty", "words", "thing"])
def test_what_stripe_did_not_sign_just_now_is_refused(shop: LocalStripe, event: str, post: Post, forged: str) -> None:
    body, signature = shop.signed(event)
    if forged == "secret":
        signature = sign(body, "whsec_of_somebody")
    elif forged == "body":
        body = body.replace(b"studio", b"scale!")
    elif forged == "none":
        signature = ""
    elif forged == "old":
        signature = sign(body, shop.secret, time.time() - 301)
    elif forged == "young":
        signature = signature.replace("t=", "t=9")
    elif forged == "empty":
        body, signature = b"", sign(b"", shop.secret)
    elif forged == "words":
        body, signature = b"\xff\xfe{", sign(b"\xff\xfe{", shop.secret)
    else:
        body = b'{"object": "thing"}'
        signature = sign(body, shop.secret)
    assert post(body, signature) == 400
    assert not StripeEvent.objects.exists()


def test_a_signature_of_four_minutes_ago_is_good(shop: LocalStripe, event: str, post: Post) -> None:
    body, _ = shop.signed(event)
    assert post(body, sign(body, shop.secret, time.time() - 240)) == 200


def test_a_body_that_is_too_large_is_not_read(shop: LocalStripe, post: Post) -> None:
    body = json.dumps({"object": "event", "padding": "x" * 600_000}).encode()
    assert post(body, sign(body, shop.secret)) == 413


def test_no_session_no_cookie_and_no_csrf_token_are_needed(shop: LocalStripe, event: str) -> None:
    body, signature = shop.signed(event)
    client = Client(enforce_csrf_checks=True)
    answer = client.post(
        "/stripe/webhook", body, content_type="application/json", headers={"Stripe-Signature": signature}
    )
    assert answer.status_code == 200 and not answer.cookies


def test_events_about_others_are_taken_and_change_nothing(shop: LocalStripe, acme: Any, post: Post) -> None:
    stranger = shop.make("customer", discount=None)
    for kind, row in (("customer.created", stranger), ("product.updated", shop.make("product"))):
        assert post(*shop.signed(shop.emit(kind, row)["id"])) == 200
    assert StripeEvent.objects.filter(handled_at=None).count() == 0
    shop.pending.clear()


def test_while_stripe_is_away_events_wait_and_are_handled_later(
    shop: LocalStripe, event: str, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.end(next(shop.all("subscription")))
    with monkeypatch.context() as away:

        def no_answer(customer: str) -> Facts:
            raise Refused(stripe.AWAY, status=503)

        away.setattr(stripe, "fetch", no_answer)
        assert post(*shop.signed(event)) == 200
    row = StripeEvent.objects.get()
    assert row.handled_at is None and row.error == stripe.AWAY and row.tries == 1
    assert webhook.sweep() == 0
    StripeEvent.objects.update(received_at=timezone.now() - timedelta(minutes=2))
    call_command("sweep")
    row.refresh_from_db()
    assert row.handled_at is not None and row.tries == 2
    assert Subscription.objects.get(workspace=acme).status == "cancelled"


def test_pauses_between_tries_grow(shop: LocalStripe, event: str) -> None:
    for tries, age, is_due in ((0, 40, True), (3, 120, False), (3, 241, True), (9, 10_000, False), (9, 10_900, True)):
        StripeEvent.objects.all().delete()
        row = StripeEvent.objects.create(event="evt_1", type="price.created", tries=tries)
        StripeEvent.objects.filter(pk=row.pk).update(received_at=timezone.now() - timedelta(seconds=age))
        assert webhook.sweep() == int(is_due), (tries, age)


def test_an_event_waits_for_a_worker_in_the_queue(shop: LocalStripe, event: str, post: Post, settings: Any) -> None:
    import django_rq

    settings.JOBS_INLINE = False
    queue = django_rq.get_queue("default")
    queue.empty()
    assert post(*shop.signed(event)) == 200
    (call,) = queue.jobs
    assert call.func_name == "apps.billing.tasks.handle" and call.timeout == webhook.HANDLE_SECONDS
    call.func(*call.args)
    assert StripeEvent.objects.get().handled_at is not None
    queue.empty()


def test_while_no_worker_comes_the_queue_does_not_fill_with_the_same_events(
    shop: LocalStripe, settings: Any, db: None
) -> None:
    import django_rq

    settings.JOBS_INLINE = False
    queue = django_rq.get_queue("default")
    queue.empty()
    StripeEvent.objects.create(event="evt_1", type="price.created")
    StripeEvent.objects.update(received_at=timezone.now() - timedelta(seconds=40))
    assert [webhook.sweep() for _ in range(3)] == [1, 0, 0]
    assert len(queue.jobs) == 1
    queue.empty()


def test_the_oldest_comes_first_and_none_that_is_not_due_is_in_its_way(
    shop: LocalStripe, monkeypatch: pytest.MonkeyPatch, db: None
) -> None:
    now, called = timezone.now(), []
    for name, age, tries in (("young", 60, 0), ("old", 600, 0), ("tried", 900, 9)):
        row = StripeEvent.objects.create(event=name, type="price.created", tries=tries)
        StripeEvent.objects.filter(pk=row.pk).update(received_at=now - timedelta(seconds=age))
    monkeypatch.setattr(webhook, "AT_ONCE", 1)
    monkeypatch.setattr(webhook, "call", lambda pk: called.append(StripeEvent.objects.get(pk=pk).event))
    assert webhook.sweep() == 1 and called == ["old"]


def test_the_docs_name_the_events_to_subscribe_to() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    assert [kind for kind in webhook.KINDS if f"`{kind}`" not in page] == []


def test_old_events_are_forgotten(shop: LocalStripe, event: str, post: Post) -> None:
    post(*shop.signed(event))
    assert webhook.tidy() == 0
    StripeEvent.objects.update(handled_at=timezone.now() - timedelta(days=91))
    assert webhook.tidy() == 1


# --- two at once ------------------------------------------------------------------------------------------------------
def _older_answer_comes_last(shop: LocalStripe, workspace: Any, monkeypatch: pytest.MonkeyPatch) -> Subscription:
    """Let one handler ask, then Stripe change, then another handler ask and write, then the first one write."""
    row, fetch, asked = Subscription.objects.get(workspace=workspace), stripe.fetch, []

    def slow(customer: str) -> Facts:
        facts = fetch(customer)
        asked.append(facts)
        if len(asked) == 1:
            shop.end(next(shop.all("subscription")))
            sync.sync(Subscription.objects.get(pk=row.pk))
        return facts

    monkeypatch.setattr(stripe, "fetch", slow)
    sync.sync(row)
    return Subscription.objects.get(pk=row.pk)


def test_an_older_answer_never_replaces_a_newer_one(
    shop: LocalStripe, acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bought(shop, acme, alice)
    assert _older_answer_comes_last(shop, acme, monkeypatch).status == "cancelled"


def test_without_that_care_it_would(shop: LocalStripe, acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bought(shop, acme, alice)
    careful = sync._write_unless_written

    def careless(seen: Subscription, facts: Facts) -> Subscription | None:
        return careful(Subscription.objects.get(pk=seen.pk), facts)

    monkeypatch.setattr(sync, "_write_unless_written", careless)
    assert _older_answer_comes_last(shop, acme, monkeypatch).status == "active"


@pytest.mark.django_db(transaction=True)
def test_handlers_at_the_same_time_end_where_stripe_is(shop: LocalStripe, acme: Any, alice: Any) -> None:
    row = bought(shop, acme, alice)
    url = money.buy_top_up(workspace=acme, user=alice, top_up="convert-1h", **URLS)
    shop.pay(url.rsplit("/", 1)[1])
    refused: list[Refused] = []
    gate = threading.Barrier(5)

    def work(number: int) -> None:
        gate.wait(10)
        try:
            for _ in range(3):
                if number == 0:
                    shop.change(next(shop.all("subscription")), {"cancel_at_period_end": True})
                sync.sync(Subscription.objects.get(pk=row.pk))
        except Refused as refusal:
            refused.append(refusal)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    after = Subscription.objects.get(pk=row.pk)
    assert after.cancels_at is not None and after.cancels_at == after.paid_until
    assert Grant.objects.get().amount == 3600
    assert all(refusal.status == 503 for refusal in refused)  # gave up after many rounds: Stripe's event stays to do
