"""Every order of reservations, ends, expiries, top-ups, plan changes and turns of the month: the books are right.

A model beside it does the sums in plain Python; whatever happens, both say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from apps.billing.errors import QuotaExceeded
from apps.billing.models import Draw, Grant, Subscription, UsageEvent
from apps.billing.periods import period_of
from apps.billing.plans import PLANS
from apps.billing.services import ledger
from apps.billing.services.subscriptions import subscription_of

METER = "convert_seconds"
ANCHOR = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
NAMES = ("free", "free", "creator", "unlimited")
AMOUNTS = some.one_of(some.integers(1, 50), some.sampled_from([200, 400, 599, 600, 601, 18_000]))


@dataclass
class Expected:
    """What the model knows of one reservation."""

    amount: int
    made: datetime
    expires: datetime
    plan: int
    grants: dict[int, int] = field(default_factory=dict)
    state: str = "reserved"
    delivered: int = 0
    waived: int = 0

    def counts(self, now: datetime) -> bool:
        return self.state == "settled" or (self.state == "reserved" and self.expires > now)


class Books(RuleBasedStateMachine):
    """One workspace through months, and the model of its books."""

    workspace: Any
    events = Bundle("events")

    def __init__(self) -> None:
        super().__init__()
        self.now = ANCHOR
        self.plan = "free"
        self.model: dict[int, Expected] = {}
        self.granted: dict[int, tuple[int, datetime | None]] = {}
        self.count = 0
        UsageEvent.objects.all().delete()
        Grant.objects.all().delete()
        subscription_of(self.workspace)
        Subscription.objects.update(plan="free", anchor=ANCHOR)

    @contextmanager
    def clock(self) -> Iterator[None]:
        with mock.patch("django.utils.timezone.now", lambda: self.now):
            yield

    # --- the model ------------------------------------------------------------------------------------------------

    def plan_left(self, at: datetime) -> int | None:
        allowance = PLANS[self.plan].limits[METER]
        if allowance is None:
            return None
        period = period_of(ANCHOR, at)
        used = sum(e.plan for e in self.model.values() if e.counts(self.now) and period.start <= e.made < period.end)
        return max(0, allowance - used)

    def grants_left(self) -> list[tuple[int, int]]:
        never = datetime.max.replace(tzinfo=UTC)
        found = sorted(self.granted, key=lambda pk: (self.granted[pk][1] or never, pk))
        left = []
        for pk in found:
            amount, expires = self.granted[pk]
            if expires is None or expires > self.now:
                taken = sum(e.grants.get(pk, 0) for e in self.model.values() if e.counts(self.now))
                left.append((pk, amount - taken))
        return left

    def left(self, at: datetime | None = None) -> int | None:
        plan = self.plan_left(at or self.now)
        return None if plan is None else plan + sum(left for _, left in self.grants_left())

    def split(self, amount: int, at: datetime) -> tuple[int, dict[int, int]]:
        plan = self.plan_left(at)
        paid = amount if plan is None else min(amount, plan)
        rest, grants = amount - paid, {}
        for pk, left in self.grants_left():
            if (part := min(rest, left)) > 0:
                grants[pk] = part
                rest -= part
        assert rest == 0
        return paid, grants

    # --- what can happen ------------------------------------------------------------------------------------------

    @rule(amount=AMOUNTS, more=AMOUNTS)
    def one_that_was_lost_comes_back(self, amount: int, more: int) -> None:
        """What it held may have been given to somebody else meanwhile."""
        event = self.reserve(amount)
        self.wait(25)
        self.reserve(more)
        self.settle(event, None)

    @rule(first=AMOUNTS, second=AMOUNTS, delivered=AMOUNTS)
    def grants_are_used_and_given_back(self, first: int, second: int, delivered: int) -> None:
        self.top_up(first, None)
        self.top_up(second, 40)
        left = self.left()
        if left is not None:
            self.settle(self.reserve(left), left - min(delivered, left))

    @rule(target=events, amount=AMOUNTS)
    def reserve(self, amount: int) -> int | None:
        left = self.left()
        key, self.count = f"job:{self.count}", self.count + 1
        with self.clock():
            try:
                event = ledger.reserve(workspace=self.workspace, meter=METER, amount=amount, key=key)
            except QuotaExceeded as no:
                assert left is not None and amount > left == no.left
                assert not UsageEvent.objects.filter(key=key).exists()
                return None
            assert left is None or amount <= left
            again = ledger.reserve(workspace=self.workspace, meter=METER, amount=amount, key=key)
        assert again.pk == event.pk, "a repeated reservation finds its own row"
        plan, grants = self.split(amount, self.now)
        self.model[event.pk] = Expected(amount, self.now, self.now + ledger.RESERVED_FOR, plan, grants)
        return event.pk

    @rule(event=events, delivered=some.none() | AMOUNTS)
    def settle(self, event: int | None, delivered: int | None) -> None:
        if event is None:
            return
        expected = self.model[event]
        with self.clock():
            done = ledger.settle(event, delivered=delivered)
        assert done == (expected.state == "reserved")
        if not done:
            return
        used = expected.amount if delivered is None else delivered
        charged = min(used, expected.amount)
        if expected.expires <= self.now:
            expected.plan, expected.grants = 0, {}
            left = self.left(expected.made)
            charged = charged if left is None else min(charged, left)
            expected.plan, expected.grants = self.split(charged, expected.made)
        else:
            self.give_back(expected, expected.amount - charged)
        expected.state, expected.delivered, expected.waived = "settled", used, used - charged

    def give_back(self, expected: Expected, amount: int) -> None:
        never = datetime.max.replace(tzinfo=UTC)
        for pk in sorted(expected.grants, key=lambda pk: (self.granted[pk][1] or never, pk), reverse=True):
            part = min(amount, expected.grants[pk])
            expected.grants[pk] -= part
            amount -= part
        expected.plan -= amount

    @rule(event=events)
    def release(self, event: int | None) -> None:
        if event is None:
            return
        expected = self.model[event]
        with self.clock():
            assert ledger.release(event) == (expected.state == "reserved")
        if expected.state == "reserved":
            expected.state = "released"

    @rule(event=events)
    def refund(self, event: int | None) -> None:
        if event is None:
            return
        expected = self.model[event]
        with self.clock():
            row = UsageEvent.objects.get(pk=event)
            assert ledger.refund(row, by=None, reason="It was noise.") == (expected.state == "settled")
        if expected.state == "settled":
            expected.state = "refunded"

    @rule(event=events)
    def extend(self, event: int | None) -> None:
        if event is None:
            return
        expected = self.model[event]
        alive = expected.state == "reserved" and expected.expires > self.now
        with self.clock():
            assert ledger.extend([event]) == int(alive)
        if alive:
            expected.expires = self.now + ledger.RESERVED_FOR

    @rule(amount=AMOUNTS, days=some.sampled_from([None, 1, 40]))
    def top_up(self, amount: int, days: int | None) -> None:
        expires = None if days is None else self.now + timedelta(days=days)
        key, self.count = f"paid:{self.count}", self.count + 1
        with self.clock():
            grants = {
                ledger.grant(
                    workspace=self.workspace,
                    meter=METER,
                    amount=amount,
                    source=Grant.Source.TOP_UP,
                    reason="Bought",
                    key=key,
                    expires_at=expires,
                ).pk
                for _ in range(2)
            }
        assert len(grants) == 1, "told twice, granted once"
        self.granted[grants.pop()] = (amount, expires)

    @rule(plan=some.sampled_from(NAMES))
    def change_plan(self, plan: str) -> None:
        self.plan = plan
        Subscription.objects.filter(workspace=self.workspace).update(plan=plan)

    @rule(hours=some.sampled_from([1, 23, 24, 25, 25, 24 * 13, 24 * 31]))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    # --- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def both_say_the_same(self) -> None:
        with self.clock():
            here = ledger.balance(self.workspace, METER)
        assert here.left == self.left()
        assert here.left is None or here.left >= 0
        assert here.period == period_of(ANCHOR, self.now)

    @invariant()
    def no_grant_is_drawn_beyond_what_it_is(self) -> None:
        for pk, (amount, _) in self.granted.items():
            draws = Draw.objects.filter(ledger_counts(self.now), grant=pk)
            assert sum(draw.amount for draw in draws) <= amount

    @invariant()
    def every_second_is_accounted_for(self) -> None:
        assert UsageEvent.objects.count() == len(self.model)
        for row in UsageEvent.objects.prefetch_related("draws"):
            expected = self.model[row.pk]
            assert row.state == expected.state
            drawn = {draw.grant_id: draw.amount for draw in row.draws.all()}
            assert (row.from_plan, drawn) == (expected.plan, {pk: n for pk, n in expected.grants.items() if n})
            if row.state == "reserved":
                assert row.amount == row.from_plan + sum(drawn.values())
            if row.state in ("settled", "refunded"):
                assert row.spent == row.from_plan + sum(drawn.values()) <= row.amount
                assert row.spent + row.waived == expected.delivered


def ledger_counts(now: datetime) -> Any:
    from django.db.models import Q

    return Q(event__state="settled") | Q(event__state="reserved", event__expires_at__gt=now)


@pytest.mark.django_db(transaction=True)
def test_the_books_balance_whatever_happens(acme: Any) -> None:
    Books.workspace = acme
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
