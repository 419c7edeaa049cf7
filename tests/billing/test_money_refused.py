"""What Stripe refuses, or does not answer: nothing is lost by it, and nothing is said that may not be so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import AuditEvent
from apps.billing import stripe
from apps.billing.services import catalog, changes, money
from apps.errors import Refused
from tests.billing.purchases import buy, put_clock_on, row_of, told
from tests.stripe_server import LocalStripe, Post

CHANGE, CANCEL = "/w/acme/billing/change/", "/w/acme/billing/cancel/"
Losing = Callable[[str], None]


def coming(shop: LocalStripe) -> str:
    """Return the plan that the local Stripe itself would change to; "" for none."""
    (row,) = shop.all("subscription")
    if not row["schedule"]:
        return ""
    return str(shop.by_id[shop.by_id[row["schedule"]]["phases"][1]["items"][0]["price"]]["metadata"]["voicecloud"])


@pytest.fixture
def losing(shop: LocalStripe, monkeypatch: pytest.MonkeyPatch) -> Losing:
    """Return a function that has the answer to one kind of request lost once, after it was done; "x:" before it."""

    def lose(what: str) -> None:
        import stripe as package

        before, name = what.startswith("x:"), what.removeprefix("x:")
        service = type(stripe.client().v1.subscriptions if name == "update" else stripe.client().v1.customers)
        if name in ("create", "release"):
            service = type(stripe.client().v1.subscription_schedules)
        real, lost = getattr(service, name), []

        def method(self: Any, *given: Any) -> Any:
            if before and not lost:
                lost.append(1)
                raise package.APIConnectionError("lost")
            answer = real(self, *given)
            if not lost:
                lost.append(1)
                raise package.APIConnectionError("lost")
            return answer

        monkeypatch.setattr(service, name, method)

    return lose


@pytest.fixture
def downgrading(shop: LocalStripe, owner: Client, acme: Any) -> None:
    """Acme has Studio, and goes down to Creator at the end of the month."""
    buy(shop, owner, "studio")
    owner.post(CHANGE, {"plan": "creator"})
    assert coming(shop) == "creator"


def test_a_declined_upgrade_leaves_the_downgrade_to_come(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, downgrading: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.fail_payments(row_of(acme).stripe_customer)
    assert owner.post(CHANGE, {"plan": "scale"}).status_code == 402
    assert coming(shop) == "creator"
    told(shop, post)
    row = row_of(acme)
    assert (row.plan, row.next_plan) == ("studio", "creator") and row.stripe_schedule
    shop.pay_open(row.stripe_customer)
    put_clock_on(shop, monkeypatch, 32)
    told(shop, post)
    assert row_of(acme).plan == "creator"


def test_a_price_that_cannot_be_asked_for_changes_nothing(
    shop: LocalStripe, owner: Client, downgrading: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(slug: str, price: int) -> str:
        raise Refused(stripe.AWAY, status=503)

    monkeypatch.setattr(money, "price_of", away)
    assert owner.post(CHANGE, {"plan": "scale"}).status_code == 503
    assert coming(shop) == "creator"


def test_a_cancellation_that_fails_leaves_the_downgrade_to_come(
    shop: LocalStripe, owner: Client, acme: Any, downgrading: None, losing: Losing
) -> None:
    losing("x:update")
    answer = owner.post(CANCEL)
    assert answer.status_code == 503 and "may have been done" in answer.content.decode()
    assert coming(shop) == "creator" and not next(shop.all("subscription"))["cancel_at_period_end"]


def test_a_downgrade_that_fails_leaves_the_cancellation(
    shop: LocalStripe, owner: Client, acme: Any, losing: Losing
) -> None:
    buy(shop, owner, "studio")
    owner.post(CANCEL)
    losing("x:create")
    assert owner.post(CHANGE, {"plan": "creator"}).status_code == 503
    assert next(shop.all("subscription"))["cancel_at_period_end"]
    owner.post(CHANGE, {"plan": "creator"})
    assert coming(shop) == "creator"


def test_what_cannot_be_put_back_is_told(
    shop: LocalStripe, owner: Client, acme: Any, downgrading: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(slug: str, price: int) -> str:
        raise Refused(stripe.AWAY, status=503)

    monkeypatch.setattr(changes, "price_of", away)
    assert money.price_of is catalog.price_of
    shop.fail_payments(row_of(acme).stripe_customer)
    answer = owner.post(CHANGE, {"plan": "scale"})
    assert answer.status_code == 402 and changes.TAKEN_BACK in answer.content.decode()


@pytest.mark.parametrize("wish", ["upgrade", "cancel"])
def test_an_answer_that_was_lost_is_no_promise_that_nothing_was_done(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, downgrading: None, losing: Losing, wish: str
) -> None:
    losing("update")
    answer = owner.post(CHANGE, {"plan": "scale"}) if wish == "upgrade" else owner.post(CANCEL)
    said = answer.content.decode()
    assert answer.status_code == 503 and "Nothing was changed" not in said
    assert "It may have been done: look at the plan before you try again." in said
    told(shop, post)
    row = row_of(acme)
    assert row.next_plan == "", "what was done is not undone"
    assert row.plan == "scale" if wish == "upgrade" else row.cancels_at == row.paid_until


@pytest.mark.parametrize("wish", ["upgrade", "cancel", "resume"])
def test_what_was_done_is_not_refused_when_stripe_does_not_say_how_it_stands(
    shop: LocalStripe, owner: Client, acme: Any, downgrading: None, monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    real, asked = money.sync, []

    def away_after(row: Any) -> Any:
        asked.append(row)
        if len(asked) > 1:
            raise Refused(stripe.AWAY, status=503)
        return real(row)

    monkeypatch.setattr(money, "sync", away_after)
    page = {"upgrade": CHANGE, "cancel": CANCEL, "resume": "/w/acme/billing/resume/"}[wish]
    answer = owner.post(page, {"plan": "scale"}, follow=True)
    assert answer.status_code == 200 and "It is done. Stripe did not say yet" in answer.content.decode()
    action = {"upgrade": "billing.plan", "cancel": "billing.cancelled", "resume": "billing.resumed"}[wish]
    assert AuditEvent.objects.filter(action=action).exists()
    assert coming(shop) == ""


def test_a_downgrade_keeps_discounts_and_taxes(
    shop: LocalStripe, owner: Client, acme: Any, post: Post, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STRIPE_TAX = True
    buy(shop, owner, "studio")
    (row,) = shop.all("subscription")
    row["discounts"] = ["di_half_price"]
    assert row["automatic_tax"]["enabled"]
    owner.post(CHANGE, {"plan": "creator"})
    for phase in shop.by_id[row["schedule"]]["phases"]:
        assert [one["discount"] for one in phase["discounts"]] == ["di_half_price"]
        assert phase["automatic_tax"]["enabled"]
    put_clock_on(shop, monkeypatch, 32)
    told(shop, post)
    assert row_of(acme).plan == "creator"
    assert row["discounts"] == ["di_half_price"] and row["automatic_tax"]["enabled"]
