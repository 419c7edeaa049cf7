"""Buying, changing and cancelling through the site's own pages, against a local Stripe that checks each request."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from apps.accounts import services
from apps.accounts.models import AuditEvent, Workspace
from apps.billing import plans, stripe
from apps.billing.models import Grant, StripeEvent, Subscription
from apps.billing.plans import GB
from apps.billing.services import money, sync, webhook
from apps.errors import Refused
from apps.pages import erasure
from tests.stripe_server import LocalStripe, Post

ClientOf = Callable[[Any], Client]


@pytest.fixture
def owner(client_of: ClientOf, acme: Any, alice: Any) -> Client:
    return client_of(alice)


def row_of(workspace: Any) -> Subscription:
    return Subscription.objects.get(workspace=workspace)


def buy(shop: LocalStripe, client: Client, plan: str, *, slug: str = "acme") -> str:
    """Choose a plan on the site and pay for it; return Stripe's id of the session."""
    answer = client.post(f"/w/{slug}/billing/checkout/", {"plan": plan})
    assert answer.status_code == 302, answer.content.decode()
    assert answer["Location"].startswith(f"{shop.base}/pay/cs_test_")
    session = answer["Location"].rsplit("/", 1)[1]
    shop.pay(session)
    return session


def told(shop: LocalStripe, post: Post) -> None:
    """Let the site hear of all that happened."""
    shop.deliver(post)


def put_clock_on(shop: LocalStripe, monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    """Let time pass for both."""
    shop.advance(days=days)
    ahead = timedelta(seconds=shop.ahead)
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + ahead)


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
    assert newest.status == "paid" and 8_000 < newest.total < 12_000
    acme.refresh_from_db()
    assert acme.seats == 50


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
    assert sync.end_grace() == 0
    assert owner.post("/w/acme/billing/change/", {"plan": "scale"}).status_code == 402
    put_clock_on(shop, monkeypatch, 7)
    call_command("sweep")
    acme.refresh_from_db()
    assert row_of(acme).effective().slug == "free" and acme.seats == 1
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


def test_a_top_up_is_granted_once_however_often_it_is_told(
    shop: LocalStripe, owner: Client, acme: Any, post: Post
) -> None:
    answer = owner.post("/w/acme/billing/top-up/", {"top_up": "convert-1h"})
    shop.pay(answer["Location"].rsplit("/", 1)[1])
    events = list(shop.pending)
    told(shop, post)
    for event in events:
        assert post(*shop.signed(event)) == 200
    sync.sync_all()
    grant = Grant.objects.get()
    assert (grant.workspace, grant.meter, grant.amount, grant.source) == (acme, "convert_seconds", 3600, "top_up")
    assert grant.expires_at is not None and grant.expires_at - grant.created_at > timedelta(days=364)
    assert grant.key == f"stripe:{next(shop.all('payment_intent'))['id']}"


def test_a_top_up_whose_event_was_lost_is_found(shop: LocalStripe, owner: Client, acme: Any) -> None:
    for _ in range(2):
        answer = owner.post("/w/acme/billing/top-up/", {"top_up": "train-2h"})
        shop.pay(answer["Location"].rsplit("/", 1)[1])
    shop.pending.clear()
    out = io.StringIO()
    call_command("stripe_sync", "--subscriptions", stdout=out)
    assert "1 subscriptions fetched again, 0 failed" in out.getvalue()
    assert sorted(Grant.objects.values_list("meter", "amount")) == [("train_minutes", 120)] * 2


def test_a_restored_database_learns_whose_the_customers_are(
    shop: LocalStripe, owner: Client, acme: Any, charlies: Any
) -> None:
    shop.make("customer", metadata={"workspace": "of another program"}, discount=None)
    shop.make("customer", metadata={}, discount=None)
    buy(shop, owner, "studio")
    customer = row_of(acme).stripe_customer
    Subscription.objects.all().delete()
    out = io.StringIO()
    call_command("stripe_sync", "--subscriptions", stdout=out)
    assert "1 customers found again." in out.getvalue()
    assert (row_of(acme).stripe_customer, row_of(acme).plan) == (customer, "studio")
    assert not Subscription.objects.filter(workspace=charlies).exclude(stripe_customer=None).exists()


def test_what_was_sold_is_granted_though_the_list_has_changed(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = owner.post("/w/acme/billing/top-up/", {"top_up": "convert-1h"})
    monkeypatch.setattr(plans, "TOP_UPS", {})
    shop.pay(answer["Location"].rsplit("/", 1)[1])
    told(shop, post)
    assert Grant.objects.get().amount == 3600


def test_an_unpaid_session_grants_nothing(shop: LocalStripe, owner: Client, acme: Any, post: Post) -> None:
    answer = owner.post("/w/acme/billing/top-up/", {"top_up": "convert-1h"})
    session = shop.pay(answer["Location"].rsplit("/", 1)[1])
    session["payment_status"] = "unpaid"  # a transfer that is under way
    told(shop, post)
    assert not Grant.objects.exists()
    session["payment_status"] = "paid"
    shop.emit("checkout.session.async_payment_succeeded", session)
    told(shop, post)
    assert Grant.objects.count() == 1


def test_tax_and_promotion_codes_are_switched_by_settings(
    shop: LocalStripe, owner: Client, acme: Any, settings: Any
) -> None:
    settings.STRIPE_TAX = settings.STRIPE_PROMOTION_CODES = True
    assert owner.post("/w/acme/billing/checkout/", {"plan": "creator"}).status_code == 302
    assert owner.post("/w/acme/billing/top-up/", {"top_up": "train-2h"}).status_code == 302
    for method, path, given in shop.requests:
        if (method, path) == ("POST", "/v1/checkout/sessions"):
            assert given["automatic_tax"] == {"enabled": True} and given["allow_promotion_codes"] is True
            assert given["customer_update"] == {"address": "auto", "name": "auto"}


def test_the_portal_leads_there_and_back(shop: LocalStripe, owner: Client, acme: Any) -> None:
    assert owner.post("/w/acme/billing/portal/").status_code == 409
    buy(shop, owner, "studio")
    answer = owner.post("/w/acme/billing/portal/")
    assert answer["Location"].startswith(f"{shop.base}/portal/bps_")
    session = next(shop.all("billing_portal.session"))
    assert session["return_url"] == "http://127.0.0.1:8000/w/acme/billing/done/"


def test_a_price_of_nobodys_is_logged_and_takes_nothing_away(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    buy(shop, owner, "studio")
    told(shop, post)
    subscription = next(shop.all("subscription"))
    strange = shop.make("price", unit_amount=7, lookup_key=None, metadata={})
    shop.change(subscription, {"items": [{"id": subscription["items"]["data"][0]["id"], "price": strange["id"]}]})
    told(shop, post)
    assert f"price {strange['id']} of Stripe belongs to no plan" in caplog.text
    assert (row_of(acme).plan, row_of(acme).status) == ("studio", "active")


def test_a_changed_price_is_made_anew_and_old_subscribers_keep_their_plan(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "studio")
    dearer = plans.PLANS["studio"].__class__(**{**vars(plans.PLANS["studio"]), "price": 5900})
    monkeypatch.setattr("apps.billing.services.catalog.PLANS", {**plans.PLANS, "studio": dearer})
    out = io.StringIO()
    call_command("stripe_sync", stdout=out)
    (line,) = out.getvalue().splitlines()
    assert "for voicecloud-studio: 59.00 usd" in line
    call_command("stripe_sync", stdout=out)
    assert out.getvalue().splitlines()[-1] == "Products and prices are as they should be."
    told(shop, post)
    assert row_of(acme).plan == "studio"
    current = next(shop.all("price", lookup_key="voicecloud-studio"))
    assert current["unit_amount"] == 5900 and len(list(shop.all("price", product="voicecloud-studio"))) == 2


def test_nothing_is_sold_at_another_price_than_is_shown(
    shop: LocalStripe, owner: Client, acme: Any, caplog: pytest.LogCaptureFixture
) -> None:
    next(shop.all("price", lookup_key="voicecloud-studio"))["unit_amount"] = 100
    answer = owner.post("/w/acme/billing/checkout/", {"plan": "studio"})
    assert answer.status_code == 503 and "run manage.py stripe_sync" in caplog.text


def test_a_deleted_customer_ends_the_plan_and_can_buy_again(
    shop: LocalStripe, owner: Client, acme: Any, post: Post
) -> None:
    buy(shop, owner, "studio")
    told(shop, post)
    stripe.delete_customer(row_of(acme).stripe_customer or "")
    told(shop, post)
    row = row_of(acme)
    assert (row.effective().slug, row.stripe_customer) == ("free", None)
    buy(shop, owner, "studio")
    told(shop, post)
    assert row_of(acme).plan == "studio"


def test_the_key_of_another_account_ends_nobodys_plan(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    buy(shop, owner, "studio")
    told(shop, post)
    shop.clear()
    with pytest.raises(Refused):
        sync.sync(row_of(acme))
    assert row_of(acme).plan == "studio" and "Stripe refuses what we ask" in caplog.text


def test_a_workspace_that_is_gone_pays_no_more(shop: LocalStripe, owner: Client, acme: Any) -> None:
    buy(shop, owner, "studio")
    for _ in range(2):
        money.forget_customer(acme)
    assert next(shop.all("subscription"))["status"] == "canceled"
    assert row_of(acme).stripe_customer is None


def test_a_deleted_workspace_runs_out_and_an_erased_one_ends(
    shop: LocalStripe, owner: Client, acme: Any, alice: Any, settings: Any, tmp_path: Any
) -> None:
    buy(shop, owner, "studio")
    sync.sync(row_of(acme))
    assert money.cancel_for_deleted() == 0
    services.delete_workspace(workspace=acme, user=alice)
    call_command("sweep")
    assert next(shop.all("subscription"))["cancel_at_period_end"] is True
    report = services.erase_workspace(workspace=acme, user=alice)
    erasure.erase_due(60.0)
    report.refresh_from_db()
    assert report.finished_at is not None
    assert next(shop.all("subscription"))["status"] == "canceled"
    assert not Workspace.objects.filter(pk=acme.pk).exists()
    assert post_all_is_quiet(shop)


def post_all_is_quiet(shop: LocalStripe) -> bool:
    """Say whether events about a customer that is gone here are taken without a fault."""
    for code in list(shop.pending):
        webhook.take(*shop.signed(code))
    handled = [webhook.handle(pk) for pk in StripeEvent.objects.values_list("pk", flat=True)]
    return bool(handled) and all(handled)


@pytest.mark.parametrize("plan", ["free", "unlimited", "platinum", ""])
def test_only_what_is_for_sale_can_be_bought(shop: LocalStripe, owner: Client, acme: Any, plan: str) -> None:
    assert owner.post("/w/acme/billing/checkout/", {"plan": plan}).status_code == 404
    assert owner.post("/w/acme/billing/top-up/", {"top_up": plan}).status_code == 404


def test_a_stripe_that_hangs_is_given_up_in_time(
    shop: LocalStripe, owner: Client, acme: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(shop, owner, "studio")
    monkeypatch.setattr(stripe, "ANSWER_SECONDS", 0.2)
    stripe._client.cache_clear()
    shop.hanging.set()
    try:
        began = datetime.now(UTC)
        answer = owner.post("/w/acme/billing/cancel/")
        assert answer.status_code == 503 and "does not answer" in answer.content.decode()
        done = owner.get("/w/acme/billing/done/", follow=True)
        assert "shows up here within minutes" in done.content.decode()
        assert datetime.now(UTC) - began < timedelta(seconds=8)
    finally:
        shop.hanging.clear()
        stripe._client.cache_clear()
    assert owner.post("/w/acme/billing/cancel/").status_code == 302


def test_without_keys_nothing_is_sold_and_nothing_breaks(owner: Client, acme: Any) -> None:
    for name in ("checkout", "top-up", "portal", "change", "cancel", "resume"):
        answer = owner.post(f"/w/acme/billing/{name}/", {"plan": "studio", "top_up": "convert-1h"})
        assert answer.status_code == 409, name
        assert "whoever runs it assigns them" in answer.content.decode()
    assert owner.get("/w/acme/billing/done/").status_code == 302
    assert Client().post("/stripe/webhook", b"{}", content_type="application/json").status_code == 404
    assert money.invoices(acme) == []
    assert Workspace.objects.get(pk=acme.pk).seats is None
