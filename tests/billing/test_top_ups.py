"""Top-ups, and what can go wrong between the site and Stripe."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from apps.accounts import services
from apps.accounts.models import Workspace
from apps.billing import plans, stripe
from apps.billing.models import Grant, StripeEvent, Subscription
from apps.billing.services import money, sync, webhook
from apps.errors import Refused
from apps.pages import erasure
from tests.billing.purchases import buy, row_of, told
from tests.stripe_server import LocalStripe, Post


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
