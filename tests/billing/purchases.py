"""What tests of purchases do again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.billing.models import Subscription
from tests.stripe_server import LocalStripe, Post


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
