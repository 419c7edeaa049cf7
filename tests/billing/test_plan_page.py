"""The plan page: how the subscription stands, what each plan would mean, and who may change it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.billing import offers
from apps.billing.models import Subscription
from apps.billing.plans import METERS, NOT_YET, PLANS, TOP_UPS
from apps.voices.models import Voice

ClientOf = Callable[[Any], Client]
PAGE = "/w/acme/billing/"


@pytest.fixture
def subscription(acme: Any) -> Subscription:
    return Subscription.objects.create(workspace=acme, plan="creator", status="active", anchor=acme.created_at)


def text_of(client: Client, page: str = PAGE) -> str:
    return client.get(page).content.decode()


def test_it_says_what_the_plan_holds_and_what_is_held(
    acme: Any, subscription: Subscription, victor: Any, client_of: ClientOf
) -> None:
    Voice.objects.create(workspace=acme, name="Anna")
    page = client_of(victor).get(PAGE)
    held = {row.name: (row.held, row.limit, row.is_over) for row in page.context["held"]}
    seats = PLANS["creator"].limits["seats"]
    assert held["Voices"] == ("1", str(PLANS["creator"].limits["voices"]), False)
    assert held["Seats"] == ("4", str(seats), seats < 4)
    assert "Storage" in held
    assert f"{subscription.period().end:%H:%M} UTC" in page.content.decode()


def test_every_plan_is_compared_with_the_one_in_force(subscription: Subscription) -> None:
    cards = {card.plan.slug: card for card in offers.cards(PLANS["creator"])}
    assert list(cards) == ["free", "creator", "studio", "scale"], "what is not for sale is shown to who has it alone"
    assert [card.step for card in cards.values()] == ["downgrade", "current", "upgrade", "upgrade"]
    assert {line.change for line in cards["creator"].lines} == {""}
    assert {line.change for line in cards["free"].lines} == {"less"}
    assert {line.change for line in cards["scale"].lines} <= {"more", ""}
    assert len(cards["free"].lines) == len(METERS) - len(NOT_YET) + 3
    assert "unlimited" in {card.plan.slug for card in offers.cards(PLANS["unlimited"])}


def test_without_stripe_nothing_is_sold(subscription: Subscription, alice: Any, client_of: ClientOf) -> None:
    text = text_of(client_of(alice))
    assert "Your site&#x27;s staff assign plans" in text or "Your site's staff assign plans" in text
    assert "Top-ups" not in text and '<form method="post" action="/w/acme/billing' not in text


def test_with_stripe_top_ups_are_offered_and_members_are_told_who_may(
    subscription: Subscription, alice: Any, bob: Any, client_of: ClientOf, settings: Any
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_x"
    for top_up in TOP_UPS.values():
        assert top_up.name in text_of(client_of(alice))
    assert "Only the owner and the admins of Acme change its plan" in text_of(client_of(bob))
    assert "Only the owner and the admins" not in text_of(client_of(alice))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"status": "trialing", "trial_ends_at": timedelta(days=5)}, "The trial ends on"),
        ({"status": "past_due", "past_due_since": timedelta(days=-1)}, "The last payment failed."),
        ({"status": "past_due", "past_due_since": timedelta(days=-8)}, "then it is on Creator again"),
        ({"cancels_at": timedelta(days=3)}, "The subscription ends on"),
        ({"next_plan": "free", "paid_until": timedelta(days=3)}, "on the plan is Free."),
    ],
)
def test_how_it_stands_is_said(
    subscription: Subscription, bob: Any, client_of: ClientOf, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence not in text_of(client_of(bob))
    moved = {name: timezone.now() + value if isinstance(value, timedelta) else value for name, value in changes.items()}
    Subscription.objects.update(**moved)
    assert sentence in text_of(client_of(bob))


def test_the_public_page_has_every_plan_that_is_sold(db: None, client: Client, settings: Any) -> None:
    text = text_of(client, "/pricing/")
    for plan in PLANS.values():
        assert (f"<h3>{plan.name}</h3>" in text) == (plan.price is not None)
    assert "$12" in text and "/pricing/" not in text_of(client, "/")
    settings.STRIPE_SECRET_KEY = "sk_test_x"
    assert "/pricing/" in text_of(client, "/")


@pytest.mark.parametrize(
    ("state", "plan", "said"),
    [
        (
            {},
            "studio",
            "Change to Studio now? A new month begins: its price is charged now, less what is left of the paid one.",
        ),
        ({"cancels_at": 9}, "studio", "less what is left of the paid one. Your cancellation is taken back."),
        ({"next_plan": "creator", "plan": "studio"}, "scale", "This takes the place of the change that was to come."),
        ({"cancels_at": 9, "plan": "studio"}, "creator", "stays as it is. Your cancellation is taken back."),
        ({"status": "trialing"}, "studio", "The trial ends, a month begins, and its full price is charged now."),
    ],
)
def test_what_a_change_will_do_is_said_before(
    subscription: Subscription,
    alice: Any,
    client_of: ClientOf,
    settings: Any,
    state: dict[str, Any],
    plan: str,
    said: str,
) -> None:
    settings.STRIPE_SECRET_KEY = "sk_test_nobody"
    days = {name: timezone.now() + timedelta(days=value) if value == 9 else value for name, value in state.items()}
    Subscription.objects.update(**days)
    shown = text_of(client_of(alice))
    form = next(part for part in shown.split("<form")[1:] if f'name="plan" value="{plan}"' in part)
    assert said in form
