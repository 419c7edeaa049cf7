"""Months that begin on a subscription's own day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from apps.accounts.models import Workspace
from apps.billing.periods import later, period_of
from apps.billing.services.subscriptions import subscription_of
from apps.billing.services.usage import periods

MOMENTS = some.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=some.just(UTC))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_month_without_the_day_begins_on_its_last() -> None:
    anchor = at("2026-01-31T09:30")
    found = [later(anchor, months) for months in range(4)]
    assert found == [anchor, at("2026-02-28T09:30"), at("2026-03-31T09:30"), at("2026-04-30T09:30")]
    assert period_of(anchor, at("2026-02-28T09:29")).start == anchor
    assert period_of(anchor, at("2026-02-28T09:30")).start == at("2026-02-28T09:30")


@given(MOMENTS, MOMENTS)
def test_every_moment_lies_in_its_month(anchor: datetime, now: datetime) -> None:
    period = period_of(anchor, now)
    assert period.start <= now < period.end
    assert timedelta(days=28) <= period.end - period.start <= timedelta(days=31)


@given(MOMENTS, MOMENTS)
def test_months_leave_no_gap(anchor: datetime, now: datetime) -> None:
    period = period_of(anchor, now)
    assert period_of(anchor, period.end).start == period.end
    assert period_of(anchor, period.start - timedelta(microseconds=1)).end == period.start


def test_no_month_is_left_out_after_a_short_one(acme: Any) -> None:
    Workspace.objects.filter(pk=acme.pk).update(created_at=at("2025-01-01T00:00"))
    acme.refresh_from_db()
    subscription = subscription_of(acme)
    subscription.anchor = at("2026-01-31T09:30")
    found = periods(subscription, at("2026-03-05T00:00"))
    assert len(found) == 12
    assert all(newer.start == older.end for newer, older in pairwise(found))
    assert found[1].start == at("2026-01-31T09:30")
