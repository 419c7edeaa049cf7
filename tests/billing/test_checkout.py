"""Pay pages and trials: one plan is bought, one trial is had."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Membership, Role, Workspace
from apps.billing import stripe
from apps.billing.models import Subscription
from apps.billing.services import money
from apps.errors import Refused
from tests.billing.purchases import buy, row_of, told
from tests.stripe_server import LocalStripe, Post

URLS = {"done_url": "http://127.0.0.1/", "back_url": "http://127.0.0.1/"}


def page_of(shop: LocalStripe, workspace: Any, user: Any, plan: str = "studio") -> str:
    """Return Stripe's id of the page where the plan can be paid."""
    return money.start_checkout(workspace=workspace, user=user, plan=plan, **URLS).rsplit("/", 1)[1]


def test_a_page_for_a_plan_is_closed_behind_any_number_of_others(shop: LocalStripe, acme: Any, alice: Any) -> None:
    first = page_of(shop, acme, alice, "creator")
    for number in range(21):
        session = money.buy_top_up(workspace=acme, user=alice, top_up="convert-1h", **URLS).rsplit("/", 1)[1]
        shop.by_id[session]["metadata"]["number"] = str(number)  # so that the next one is another
    page_of(shop, acme, alice, "studio")
    assert shop.by_id[first]["status"] == "expired"


def test_a_page_that_is_paid_while_another_is_chosen_is_the_only_one(
    shop: LocalStripe, acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, close = page_of(shop, acme, alice, "creator"), stripe.close_page

    def paid_before(session: str) -> bool:
        shop.pay(session)
        return close(session)

    monkeypatch.setattr(stripe, "close_page", paid_before)
    with pytest.raises(Refused) as refusal:
        page_of(shop, acme, alice, "studio")
    assert refusal.value.status == 409
    assert [row["id"] for row in shop.all("checkout.session")] == [first]
    shop.refusals.clear()  # the closing


def test_a_page_that_ran_out_meanwhile_is_as_good_as_closed(
    shop: LocalStripe, acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, close = page_of(shop, acme, alice, "creator"), stripe.close_page

    def over_before(session: str) -> bool:
        shop.expire(shop.by_id[session])
        return close(session)

    monkeypatch.setattr(stripe, "close_page", over_before)
    assert page_of(shop, acme, alice, "studio") != first
    shop.refusals.clear()  # the closing


def test_who_has_a_plan_finds_no_page_open_for_another(
    shop: LocalStripe, owner: Client, acme: Any, alice: Any, post: Post
) -> None:
    """Two people chose at the very same moment: each page was made before either list knew of it."""
    first = page_of(shop, acme, alice, "studio")
    hidden = shop.by_id.pop(first)
    second = page_of(shop, acme, alice, "scale")
    shop.by_id[first] = hidden
    top_up = money.buy_top_up(workspace=acme, user=alice, top_up="convert-1h", **URLS).rsplit("/", 1)[1]
    shop.pay(second)
    told(shop, post)
    assert shop.by_id[first]["status"] == "expired" and shop.by_id[top_up]["status"] == "open"
    assert row_of(acme).plan == "scale"


def test_a_failure_is_not_repeated_for_a_day(
    shop: LocalStripe, acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stripe keeps an answer for a key, whatever it was; the same wish has another key in the next hour."""
    first = page_of(shop, acme, alice)
    shop.by_id.pop(first)  # what was answered is of no use
    assert page_of(shop, acme, alice) == first
    monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + timedelta(hours=1))
    assert page_of(shop, acme, alice) != first


# --- trials ----------------------------------------------------------------------------------------------------
def another(user: Any, slug: str = "other") -> Workspace:
    workspace = Workspace.objects.create(name=slug.capitalize(), slug=slug)
    Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
    return workspace


def is_trial(shop: LocalStripe, session: str) -> bool:
    return bool(shop.by_id[session]["_terms"]["trial_days"])


def test_a_person_has_one_trial_in_all_their_workspaces(
    shop: LocalStripe, owner: Client, acme: Any, alice: Any, bob: Any, post: Post
) -> None:
    other = another(alice)
    assert "Try Creator for 14 days" in owner.get("/w/other/billing/").content.decode()
    buy(shop, owner, "creator")
    told(shop, post)
    assert row_of(acme).status == "trialing"
    assert "Try Creator" not in owner.get("/w/other/billing/").content.decode()
    assert not is_trial(shop, page_of(shop, other, alice, "creator"))
    assert is_trial(shop, page_of(shop, another(bob, "third"), bob, "creator"))


def test_a_trial_is_remembered_when_its_workspace_is_gone(
    shop: LocalStripe, owner: Client, acme: Any, alice: Any, post: Post
) -> None:
    buy(shop, owner, "creator")
    told(shop, post)
    acme.delete()
    alice.refresh_from_db()
    assert alice.trialed_at is not None
    assert not is_trial(shop, page_of(shop, another(alice), alice, "creator"))


def test_a_workspace_that_had_its_trial_gives_none_to_who_owns_it_now(shop: LocalStripe, acme: Any, alice: Any) -> None:
    Subscription.objects.create(workspace=acme, trialed_at=timezone.now())
    assert not is_trial(shop, page_of(shop, another(alice), alice, "creator"))


def test_pages_that_were_open_for_a_second_trial_are_closed(
    shop: LocalStripe, owner: Client, acme: Any, alice: Any, post: Post
) -> None:
    open_one = page_of(shop, another(alice), alice, "creator")
    assert is_trial(shop, open_one)
    buy(shop, owner, "creator")
    told(shop, post)
    assert shop.by_id[open_one]["status"] == "expired"
