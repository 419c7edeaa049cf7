"""The local Stripe refuses what Stripe would: else tests against it would prove nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.stripe_rows import SHAPES
from tests.stripe_server import KEY, LocalStripe
from tests.stripe_validation import Invalid, decode, validate

SHARED = Path(__file__).resolve().parents[3] / "shared" / "stripe" / "fixtures3.json"


def client(local: LocalStripe, key: str = KEY) -> Any:
    return stripe.StripeClient(key, base_addresses={"api": local.base}, max_network_retries=0).v1


@pytest.mark.parametrize(
    ("text", "parameters", "param", "code"),
    [
        ("emaill=a", stripe.params.CustomerCreateParams, "emaill", "parameter_unknown"),
        ("api_key=a", stripe.params.CustomerCreateParams, "api_key", "parameter_unknown"),
        ("items[0][prize]=x", stripe.params.SubscriptionUpdateParams, "items[0][prize]", "parameter_unknown"),
        ("items[1][price]=x", stripe.params.SubscriptionUpdateParams, "items", None),
        ("items=x", stripe.params.SubscriptionUpdateParams, "items", None),
        ("proration_behavior=never", stripe.params.SubscriptionUpdateParams, "proration_behavior", None),
        ("cancel_at_period_end=yes", stripe.params.SubscriptionUpdateParams, "cancel_at_period_end", None),
        ("trial_end=soon", stripe.params.SubscriptionUpdateParams, "trial_end", None),
        ("unit_amount=12", stripe.params.PriceCreateParams, "currency", "parameter_missing"),
        ("currency=usd&unit_amount=1.5", stripe.params.PriceCreateParams, "unit_amount", None),
        ("currency=usd&recurring[interval]=fortnight", stripe.params.PriceCreateParams, "recurring[interval]", None),
        ("mode=buy", stripe.params.checkout.SessionCreateParams, "mode", None),
        ("email=a&email=b", stripe.params.CustomerCreateParams, "email", None),
        (f"metadata[{'k' * 41}]=x", stripe.params.CustomerCreateParams, "metadata", None),
    ],
)
def test_parameters_are_checked_against_the_packages_types(text: str, parameters: Any, param: Any, code: Any) -> None:
    with pytest.raises(Invalid) as refused:
        validate(decode(text), parameters)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_right_parameters_become_values_of_their_types() -> None:
    text = (
        "items[0][id]=si_1&items[0][price]=p&trial_end=now&cancel_at_period_end=true&metadata[a]=b&expand[0]=schedule"
    )
    assert validate(decode(text), stripe.params.SubscriptionUpdateParams) == {
        "items": [{"id": "si_1", "price": "p"}],
        "trial_end": "now",
        "cancel_at_period_end": True,
        "metadata": {"a": "b"},
        "expand": ["schedule"],
    }
    price = validate(decode("currency=usd&unit_amount=12&recurring[interval]=month"), stripe.params.PriceCreateParams)
    assert price == {"currency": "usd", "unit_amount": 12, "recurring": {"interval": "month"}}


def test_a_wrong_request_is_refused_and_remembered(local: LocalStripe) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client(local).customers.create({"emaill": "alice@example.org"})
    assert (refused.value.http_status, refused.value.param, refused.value.code) == (400, "emaill", "parameter_unknown")
    with pytest.raises(stripe.InvalidRequestError, match="Unrecognized request URL"):
        client(local).coupons.create({"percent_off": 10.0})
    assert [refusal["path"] for refusal in local.refusals] == ["/v1/customers", "/v1/coupons"]
    local.refusals.clear()


def test_what_the_types_allow_and_stripe_does_not_is_refused_too(local: LocalStripe) -> None:
    api = client(local)
    customer = api.customers.create({"email": "alice@example.org"}).id
    api.products.create({"id": "thing", "name": "Thing"})
    once = api.prices.create({"product": "thing", "currency": "usd", "unit_amount": 5, "lookup_key": "thing"}).id
    right: dict[str, Any] = {
        "mode": "payment",
        "customer": customer,
        "line_items": [{"price": once, "quantity": 1}],
        "success_url": "http://127.0.0.1/",
    }
    assert api.checkout.sessions.create(right).url.startswith(local.base)
    for wrong in (
        {"mode": "subscription"},  # of a price that does not recur
        {"subscription_data": {"trial_period_days": 3}},
        {"customer": "cus_nobody"},
        {"line_items": [{"price": once}]},
        {"automatic_tax": {"enabled": True}},  # of a customer without an address
    ):
        with pytest.raises(stripe.InvalidRequestError):
            api.checkout.sessions.create({**right, **wrong})
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        api.prices.create({"product": "thing", "currency": "usd", "unit_amount": 6, "lookup_key": "thing"})
    local.refusals.clear()


def test_key_and_version_are_asked_for(local: LocalStripe) -> None:
    with pytest.raises(stripe.AuthenticationError):
        client(local, "sk_test_wrong").customers.create({})
    with pytest.raises(stripe.InvalidRequestError, match="version"):
        client(local).customers.create({}, {"stripe_version": "2020-01-01"})
    assert len(local.refusals) == 2
    local.refusals.clear()


def test_an_idempotency_key_gives_the_same_answer_to_the_same_request_only(local: LocalStripe) -> None:
    customers = client(local).customers
    made = customers.create({"email": "a@example.org"}, {"idempotency_key": "one"})
    assert customers.create({"email": "a@example.org"}, {"idempotency_key": "one"}).id == made.id
    assert customers.create({"email": "a@example.org"}, {"idempotency_key": "two"}).id != made.id
    with pytest.raises(stripe.IdempotencyError):
        customers.create({"email": "b@example.org"}, {"idempotency_key": "one"})
    assert [refusal["text"] for refusal in local.refusals] == ["one"]
    local.refusals.clear()


def test_pages_of_a_list_follow_each_other(local: LocalStripe) -> None:
    api = client(local)
    api.products.create({"id": "thing", "name": "Thing"})
    made = [api.prices.create({"product": "thing", "currency": "usd", "unit_amount": n + 1}).id for n in range(5)]
    assert [price.id for price in api.prices.list({"limit": 2}).auto_paging_iter()] == made[::-1]


def test_a_schedule_keeps_others_from_cancelling(local: LocalStripe) -> None:
    api = client(local)
    customer = api.customers.create({}).id
    api.products.create({"id": "thing", "name": "Thing"})
    params = {"product": "thing", "currency": "usd", "unit_amount": 5, "recurring": {"interval": "month"}}
    row = local.subscribe(customer, api.prices.create(params).id)
    schedule = api.subscription_schedules.create({"from_subscription": row["id"]})
    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        api.subscriptions.update(row["id"], {"cancel_at_period_end": True})
    api.subscription_schedules.release(schedule.id)
    assert api.subscriptions.update(row["id"], {"cancel_at_period_end": True}).cancel_at is not None
    local.refusals.clear()


def test_shapes_are_those_that_stripe_publishes() -> None:
    if not SHARED.exists():
        pytest.skip("../shared/stripe/fixtures3.json is not here")
    theirs = json.loads(SHARED.read_text())["resources"]
    assert {name: theirs[name] for name in SHAPES} == SHAPES
