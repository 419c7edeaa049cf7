"""A local Stripe that the site of the test sells through."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from tests.stripe_server import KEY, SECRET, LocalStripe, Post


@pytest.fixture(scope="session")
def _local_stripe() -> Iterator[LocalStripe]:
    with LocalStripe().running() as server:
        yield server


@pytest.fixture
def local(_local_stripe: LocalStripe, settings: Any) -> Iterator[LocalStripe]:
    """A Stripe that knows nothing yet; what it refused fails the test, unless the test says that it wanted that."""
    _local_stripe.clear()
    _local_stripe.refusals.clear()
    _local_stripe.requests.clear()
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_WEBHOOK_SECRET = SECRET
    settings.STRIPE_API_BASE = _local_stripe.base
    settings.DEFAULT_PLAN = "free"
    yield _local_stripe
    assert _local_stripe.refusals == []


@pytest.fixture
def shop(local: LocalStripe, db: None) -> LocalStripe:
    """A Stripe that has our products and prices, with no event waiting."""
    call_command("stripe_sync", stdout=io.StringIO())
    local.pending.clear()
    return local


@pytest.fixture
def owner(client_of: Callable[[Any], Client], acme: Any, alice: Any) -> Client:
    """Alice's browser; she owns acme."""
    return client_of(alice)


@pytest.fixture
def post(django_capture_on_commit_callbacks: Callable[..., Any]) -> Post:
    """Return a function that sends a webhook to the site and lets it be handled; it returns the status."""

    def send(body: bytes, signature: str) -> int:
        with django_capture_on_commit_callbacks(execute=True):
            answer = Client().post(
                "/stripe/webhook", body, content_type="application/json", headers={"Stripe-Signature": signature}
            )
        return answer.status_code

    return send
