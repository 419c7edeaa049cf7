"""Random lives of a subscription: with events shuffled, doubled, late and lost it ends where Stripe is."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models import Sum

from apps.accounts.models import Workspace
from apps.billing.models import Grant, Subscription
from apps.billing.services import webhook
from tests.stripe_life import Declined
from tests.stripe_rows import LIVE
from tests.stripe_server import LocalStripe

SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed >= 50 else []) for seed in range(250)]


def said_by(shop: LocalStripe, customer: str) -> dict[str, Any]:
    """Return how the workspace must stand, read from the local Stripe's own objects and not through its API."""

    def moment(seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    rows = list(shop.all("subscription", customer=customer))
    granted = sum(
        int(one["metadata"]["amount"])
        for one in shop.all("checkout.session", customer=customer)
        if one["mode"] == "payment" and one["status"] == "complete"
    )
    said: dict[str, Any] = dict.fromkeys(
        ("subscription", "paid_until", "cancels_at", "past_due_since", "trial_ends_at")
    )
    said |= {"plan": "", "next_plan": "", "status": "cancelled", "granted": granted}
    said["trialed"] = any(row["trial_start"] for row in rows)
    live = [row for row in rows if row["status"] in LIVE]
    if not live:
        return said | ({} if rows else {"status": "none"})
    (row,) = live
    said["subscription"] = row["id"]
    (item,) = row["items"]["data"]
    said["plan"] = item["price"]["metadata"]["voicecloud"]
    said["status"] = row["status"]
    said["paid_until"] = moment(item["current_period_end"])
    said["cancels_at"] = moment(item["current_period_end"]) if row["cancel_at_period_end"] else None
    if row["status"] == "trialing":
        said["trial_ends_at"] = moment(row["trial_end"])
    if row["status"] == "past_due":
        open_ones = [one["created"] for one in shop.all("invoice", _subscription=row["id"], status="open")]
        said["past_due_since"] = moment(min(open_ones))
    if row["schedule"]:
        schedule = shop.by_id[row["schedule"]]
        coming = [one for one in schedule["phases"] if one["start_date"] >= item["current_period_end"]]
        said["next_plan"] = shop.by_id[coming[0]["items"][0]["price"]]["metadata"]["voicecloud"] if coming else ""
    return said


def stands(workspace: Any) -> dict[str, Any]:
    """Return how the workspace stands here."""
    row = Subscription.objects.get(workspace=workspace)
    names = ("plan", "next_plan", "status", "paid_until", "cancels_at", "past_due_since", "trial_ends_at")
    granted = Grant.objects.filter(workspace=workspace).aggregate(sum=Sum("amount"))["sum"] or 0
    return {name: getattr(row, name) for name in names} | {
        "trialed": row.trialed_at is not None,
        "granted": granted,
        "subscription": row.stripe_subscription,
    }


class ALife:
    """What a customer and time do at random; each step is one that Stripe allows then."""

    def __init__(self, shop: LocalStripe, chance: random.Random, customer: str) -> None:
        self.shop, self.chance, self.customer = shop, chance, customer
        self.prices = {row["metadata"]["voicecloud"]: row["id"] for row in shop.all("price")}

    def step(self) -> None:
        """Do one thing."""
        row = next((one for one in self.shop.all("subscription") if one["status"] in LIVE), None)
        choices: list[Callable[[Any], None]] = [self.top_up]
        choices += (
            [self.subscribe] * 3 if row is None else [self.pass_time] * 3 + [self.change, self.cancel, self.later]
        )
        if row is not None:
            choices += [self.pay] * 3 if row["status"] == "past_due" else [self.fail]
        self.chance.choice(choices)(row)

    def top_up(self, row: Any) -> None:
        session = self.shop.make(
            "checkout.session",
            mode="payment",
            customer=self.customer,
            amount_total=500,
            currency="usd",
            metadata={"top_up": "x", "meter": "convert_seconds", "amount": "10", "valid_days": "5", "name": "x"},
        )
        session["_terms"] = {"metadata": {}, "invoice": False}
        self.shop.pay(session["id"])

    def subscribe(self, row: Any) -> None:
        plan = self.chance.choice(["creator", "studio", "scale"])
        self.shop.failing.clear()
        self.shop.subscribe(self.customer, self.prices[plan], trial_days=self.chance.choice([None, 14]))

    def pass_time(self, row: Any) -> None:
        self.shop.advance(days=self.chance.choice([1, 8, 16, 32]))

    def change(self, row: Any) -> None:
        price = self.prices[self.chance.choice(["creator", "studio", "scale"])]
        item = {"id": row["items"]["data"][0]["id"], "price": price}
        if not row["schedule"]:
            wish = {"items": [item], "proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}
            if row["status"] != "trialing":
                wish["billing_cycle_anchor"] = {"type": self.chance.choice(["now", "unchanged"])}
            try:
                self.shop.change(row, wish)
            except Declined:
                assert self.customer in self.shop.failing

    def cancel(self, row: Any) -> None:
        if self.chance.random() < 0.2:
            self.shop.end(row)
        elif not row["schedule"]:
            self.shop.change(row, {"cancel_at_period_end": not row["cancel_at_period_end"]})

    def later(self, row: Any) -> None:
        if row["schedule"]:
            self.shop.release(self.shop.by_id[row["schedule"]])
            return
        if row["cancel_at_period_end"] or row["status"] == "trialing":
            return
        made = self.shop.schedule(row)
        now, plan = made["phases"][0], self.chance.choice(["creator", "studio"])
        same = {"items": now["items"], "start_date": now["start_date"], "end_date": now["end_date"]}
        self.shop.reschedule(made, {"phases": [same, {"items": [{"price": self.prices[plan]}]}]})

    def fail(self, row: Any) -> None:
        self.shop.fail_payments(self.customer)

    def pay(self, row: Any) -> None:
        self.shop.pay_open(self.customer)


@pytest.fixture
def told(django_capture_on_commit_callbacks: Callable[..., Any], shop: LocalStripe) -> Callable[[str], None]:
    """Return a function that delivers one event by the webhook's service, and has it handled."""

    def deliver(code: str) -> None:
        with django_capture_on_commit_callbacks(execute=True):
            webhook.take(*shop.signed(code))

    return deliver


@pytest.mark.parametrize("seed", SEEDS)
def test_any_life_in_any_order_ends_where_stripe_is(
    seed: int, shop: LocalStripe, told: Callable[[str], None], db: None, caplog: pytest.LogCaptureFixture
) -> None:
    """Events come in any order, twice, late, or never; right after each that matters the row is as Stripe is then, and
    ``stripe_sync`` mends what was lost."""
    chance = random.Random(seed)
    workspace = Workspace.objects.create(name="Life", slug="life")
    customer = shop.make("customer", discount=None)["id"]
    Subscription.objects.create(workspace=workspace, stripe_customer=customer)
    life, late = ALife(shop, chance, customer), []
    for _ in range(chance.randint(4, 9)):
        life.step()
        events = [*late, *shop.pending]
        late, shop.pending[:] = [], []
        chance.shuffle(events)
        for code in events:
            fate = chance.random()
            if fate < 0.25:
                continue  # lost
            if fate < 0.45:
                late.append(code)
                continue
            told(code)
            if shop.by_id[code]["type"] in webhook.KINDS:
                assert stands(workspace) == said_by(shop, customer)
            if chance.random() < 0.25:
                told(code)
    call_command("stripe_sync", "--subscriptions", stdout=io.StringIO())
    assert stands(workspace) == said_by(shop, customer)
    for code in late:  # what comes after that changes nothing
        told(code)
    assert stands(workspace) == said_by(shop, customer)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
