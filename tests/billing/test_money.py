"""Buying, changing and cancelling through the site's own pages, against a local Stripe that checks each request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.billing.plans import GB
from apps.billing.services import money, subscriptions
from tests.billing.purchases import buy, put_clock_on, row_of, told
from tests.stripe_server import LocalStripe, Post


def test_who_buys_a_plan_has_it_when_they_come_back(shop: LocalStripe, owner: Client, acme: Any) -> None:
    buy(shop, owner, "studio")
    answer = owner.get("/w/acme/billing/done/", follow=True)
    assert "the plan is Studio" in answer.content.decode()
    row = row_of(acme)
    assert (row.plan, row.status) == ("studio", "active")
    assert row.paid_until is not None and timedelta(days=27) < row.paid_until - row.anchor < timedelta(days=32)
    acme.refresh_from_db()
    assert (acme.seats, acme.voice_limit, acme.storage_limit, acme.job_weight) == (10, 50, 200 * GB, 4)
    customer = shop.by_id[row.stripe_customer]
    assert customer["metadata"] == {"workspace": str(acme.code)} and customer["email"] == "alice@example.org"
    event = AuditEvent.objects.get(action="plan.changed")
    assert event.data == {"before": "free", "after": "studio"}


def test_the_webhook_alone_is_enough(shop: LocalStripe, owner: Client, acme: Any, post: Post) -> None:
    buy(shop, owner, "creator")
    told(shop, post)
    row = row_of(acme)
    assert (row.plan, row.status) == ("creator", "trialing")
    assert row.trial_ends_at == row.anchor == row.paid_until
    assert row.trial_ends_at is not None
    assert abs(row.trial_ends_at - timezone.now() - timedelta(days=14)) < timedelta(minutes=1)


def test_there_is_one_trial(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "creator")
    told(shop, post)
    assert owner.post("/w/acme/billing/cancel/").status_code == 302
    put_clock_on(shop, monkeypatch, 15)
    told(shop, post)
    row = row_of(acme)
    assert (row.plan, row.status, row.effective().slug) == ("", "cancelled", "free")
    buy(shop, owner, "creator")
    told(shop, post)
    assert row_of(acme).status == "active"


def test_a_trial_that_nobody_cancels_is_paid(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "creator")
    told(shop, post)
    before = row_of(acme).anchor
    put_clock_on(shop, monkeypatch, 15)
    told(shop, post)
    row = row_of(acme)
    assert (row.status, row.anchor, row.trial_ends_at) == ("active", before, None)
    assert [one.total for one in money.invoices(acme)] == [1200, 0]


def test_owners_and_admins_see_what_was_charged(
    shop: LocalStripe, owner: Client, client_of: Any, bob: Any, acme: Any, post: Post
) -> None:
    page = "/w/acme/billing/invoices/"
    assert "Nothing was charged yet" in owner.get(page).content.decode()
    buy(shop, owner, "studio")
    told(shop, post)
    shown = owner.get(page).content.decode()
    (invoice,) = money.invoices(acme)
    assert invoice.number in shown and "$49" in shown and f'href="{invoice.url}"' in shown
    assert client_of(bob).get(page).status_code == 403


def test_two_clicks_make_one_page_and_a_second_choice_closes_the_first(
    shop: LocalStripe, owner: Client, acme: Any
) -> None:
    first = owner.post("/w/acme/billing/checkout/", {"plan": "creator"})["Location"]
    assert owner.post("/w/acme/billing/checkout/", {"plan": "creator"})["Location"] == first
    second = owner.post("/w/acme/billing/checkout/", {"plan": "studio"})["Location"]
    assert second != first
    sessions = {row["url"]: row["status"] for row in shop.all("checkout.session")}
    assert sessions == {None: "expired", second: "open"}
    assert len(list(shop.all("customer"))) == 1


def test_two_clicks_at_the_very_same_moment_make_one_page(
    shop: LocalStripe, acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look at the open pages before either has made one: the idempotency key is the same."""
    urls = {"done_url": "http://127.0.0.1/", "back_url": "http://127.0.0.1/"}
    made = [money.start_checkout(workspace=acme, user=alice, plan="creator", **urls)]
    session = next(shop.all("checkout.session"))
    shop.by_id.pop(session["id"])  # the second one's list was asked for earlier
    made.append(money.start_checkout(workspace=acme, user=alice, plan="creator", **urls))
    assert made[0] == made[1]


def test_who_has_a_subscription_cannot_buy_another(shop: LocalStripe, owner: Client, acme: Any) -> None:
    buy(shop, owner, "creator")  # no event arrives, and nobody comes back
    answer = owner.post("/w/acme/billing/checkout/", {"plan": "studio"})
    assert answer.status_code == 409 and "Change its plan instead" in answer.content.decode()
    assert row_of(acme).plan == "creator"


def test_an_upgrade_is_paid_and_there_at_once(shop: LocalStripe, owner: Client, acme: Any, post: Post) -> None:
    buy(shop, owner, "studio")
    told(shop, post)
    shop.advance(days=10)
    answer = owner.post("/w/acme/billing/change/", {"plan": "scale"}, follow=True)
    assert "The plan is Scale now" in answer.content.decode()
    newest = money.invoices(acme)[0]
    assert newest.status == "paid" and 19_900 - 3_600 < newest.total < 19_900 - 2_900, "a whole month, less 20 days"
    acme.refresh_from_db()
    assert acme.seats == 50


def test_an_upgrade_on_the_last_day_buys_a_whole_month_that_begins_then(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "studio")
    told(shop, post)
    paid_until = row_of(acme).paid_until
    assert paid_until is not None
    put_clock_on(shop, monkeypatch, (paid_until - timezone.now()).total_seconds() / 86_400 - 0.5)
    owner.post("/w/acme/billing/change/", {"plan": "scale"})
    row = row_of(acme)
    assert money.invoices(acme)[0].total > 19_700
    assert timedelta() <= timezone.now() - row.anchor < timedelta(minutes=1), "the allowance begins with what is paid"
    assert row.paid_until is not None and row.paid_until > paid_until + timedelta(days=25)
    assert row.period().end == row.paid_until


def test_an_upgrade_ends_a_trial_of_the_lower_plan(shop: LocalStripe, owner: Client, acme: Any, post: Post) -> None:
    buy(shop, owner, "creator")
    owner.post("/w/acme/billing/change/", {"plan": "studio"})
    row = row_of(acme)
    assert (row.plan, row.status) == ("studio", "active")
    assert money.invoices(acme)[0].total == 4900


def test_a_declined_upgrade_changes_nothing_and_can_be_tried_again(
    shop: LocalStripe, owner: Client, acme: Any, post: Post
) -> None:
    buy(shop, owner, "studio")
    told(shop, post)
    customer = row_of(acme).stripe_customer
    shop.fail_payments(customer)
    answer = owner.post("/w/acme/billing/change/", {"plan": "scale"})
    assert answer.status_code == 402 and "declined" in answer.content.decode()
    assert row_of(acme).plan == "studio" and next(shop.all("subscription"))["status"] == "active"
    shop.pay_open(customer)
    assert owner.post("/w/acme/billing/change/", {"plan": "scale"}).status_code == 302
    assert row_of(acme).plan == "scale"


def test_a_downgrade_comes_with_the_next_period(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "scale")
    answer = owner.post("/w/acme/billing/change/", {"plan": "studio"}, follow=True)
    assert "changes when the paid month is over" in answer.content.decode()
    row = row_of(acme)
    assert (row.plan, row.next_plan) == ("scale", "studio") and row.stripe_schedule
    put_clock_on(shop, monkeypatch, 32)
    told(shop, post)
    row = row_of(acme)
    assert (row.plan, row.next_plan, row.status) == ("studio", "", "active")
    assert money.invoices(acme)[0].total == 4900
    owner.post("/w/acme/billing/cancel/")  # still under the schedule, which is let go first
    assert row_of(acme).cancels_at == row_of(acme).paid_until
    put_clock_on(shop, monkeypatch, 32)
    told(shop, post)
    assert row_of(acme).effective().slug == "free"


@pytest.mark.parametrize("wish", ["resume", "upgrade", "same"])
def test_a_downgrade_can_be_taken_back(shop: LocalStripe, owner: Client, acme: Any, wish: str) -> None:
    buy(shop, owner, "studio")
    owner.post("/w/acme/billing/change/", {"plan": "creator"})
    assert row_of(acme).next_plan == "creator"
    if wish == "resume":
        assert owner.post("/w/acme/billing/resume/").status_code == 302
    else:
        owner.post("/w/acme/billing/change/", {"plan": "scale" if wish == "upgrade" else "studio"})
    row = row_of(acme)
    assert (row.plan, row.next_plan, row.stripe_schedule) == ("scale" if wish == "upgrade" else "studio", "", "")


def test_a_cancellation_keeps_the_plan_to_the_end_and_can_be_taken_back(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "studio")
    assert "the plan stays until" in owner.post("/w/acme/billing/cancel/", follow=True).content.decode()
    row = row_of(acme)
    assert row.plan == "studio" and row.cancels_at == row.paid_until
    assert owner.post("/w/acme/billing/resume/").status_code == 302
    assert row_of(acme).cancels_at is None
    assert owner.post("/w/acme/billing/resume/").status_code == 409
    owner.post("/w/acme/billing/cancel/")
    put_clock_on(shop, monkeypatch, 32)
    told(shop, post)
    row = row_of(acme)
    assert (row.plan, row.status, row.cancels_at, row.paid_until) == ("", "cancelled", None, None)
    acme.refresh_from_db()
    assert (acme.seats, acme.voice_limit) == (1, 2)


def test_a_cancellation_gives_way_to_a_downgrade(shop: LocalStripe, owner: Client, acme: Any) -> None:
    buy(shop, owner, "studio")
    owner.post("/w/acme/billing/cancel/")
    owner.post("/w/acme/billing/change/", {"plan": "creator"})
    row = row_of(acme)
    assert (row.next_plan, row.cancels_at) == ("creator", None)


def test_a_failed_payment_takes_the_plan_after_seven_days(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "studio")
    told(shop, post)
    shop.fail_payments(row_of(acme).stripe_customer)
    put_clock_on(shop, monkeypatch, 32)
    told(shop, post)
    row = row_of(acme)
    assert (row.status, row.effective().slug) == ("past_due", "studio")
    assert subscriptions.mend() == 0
    assert owner.post("/w/acme/billing/change/", {"plan": "scale"}).status_code == 402
    put_clock_on(shop, monkeypatch, 7)
    call_command("sweep")
    acme.refresh_from_db()
    assert row_of(acme).effective().slug == "free" and acme.seats == 1
    down = AuditEvent.objects.get(action="plan.changed", user=None, target="Free")
    assert (down.data["before"], down.data["after"]) == ("studio", "free")
    shop.pay_open(row.stripe_customer)
    told(shop, post)
    acme.refresh_from_db()
    assert row_of(acme).status == "active" and acme.seats == 10


def test_a_second_month_without_payment_begins_no_new_grace(
    shop: LocalStripe, owner: Client, acme: Any, post: Post
) -> None:
    buy(shop, owner, "studio")
    shop.fail_payments(row_of(acme).stripe_customer)
    shop.advance(days=32)
    told(shop, post)
    since = row_of(acme).past_due_since
    next(shop.all("subscription"))["items"]["data"][0]["current_period_end"] = shop.now + 60
    shop.advance(seconds=120)  # the day of the second invoice comes before Stripe gives up
    told(shop, post)
    assert row_of(acme).past_due_since == since and row_of(acme).status == "past_due"
