"""What a workspace used in a period, added up from the ledger: by day, by member, by key and by kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Case, F, Q, QuerySet, Sum, When
from django.db.models.functions import TruncDate
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.billing.models import Subscription, UsageEvent
from apps.billing.periods import Period, period_of
from apps.billing.plans import PERIOD_METERS
from apps.billing.services.ledger import counted, grants

PERIODS = 12
State = UsageEvent.State


@dataclass
class Part:
    """A part of a meter's use, by what it is told apart: a member, a key or a kind of work."""

    name: str
    amount: int


@dataclass
class MeterUse:
    """What was used of one meter in a period: settled, and set aside for what is not done yet."""

    meter: str
    used: int = 0
    reserved: int = 0
    from_plan: int = 0  # of both, the part that the plan's allowance paid
    days: dict[date, int] = field(default_factory=dict)
    members: list[Part] = field(default_factory=list)
    keys: list[Part] = field(default_factory=list)
    kinds: list[Part] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All that counts."""
        return self.used + self.reserved


def periods(subscription: Subscription, now: datetime | None = None) -> list[Period]:
    """Return this period and the eleven before it, the newest first; none that ended before there was a workspace."""
    found = [subscription.period(now or timezone.now())]
    while len(found) < PERIODS and found[-1].start > subscription.workspace.created_at:
        found.append(period_of(subscription.anchor, found[-1].start - timedelta(microseconds=1)))
    return found


def events_of(workspace: Workspace, period: Period) -> QuerySet[UsageEvent]:
    """Return the ledger's rows of a period, the newest first."""
    return UsageEvent.objects.filter(workspace=workspace, created_at__gte=period.start, created_at__lt=period.end)


def used_in(workspace: Workspace, period: Period) -> dict[str, MeterUse]:
    """Return the use of every meter in the period, by its slug."""
    found = {meter: MeterUse(meter) for meter in PERIOD_METERS}
    rows = events_of(workspace, period).filter(counted(timezone.now())).order_by()
    # A reservation counts as all that it set aside, what has ended as what it cost.
    rows = rows.annotate(counts=Case(When(state=State.RESERVED, then=F("amount")), default=F("spent")))
    sums = rows.values("meter").annotate(
        used=Sum("spent", filter=Q(state=State.SETTLED)),
        reserved=Sum("amount", filter=Q(state=State.RESERVED)),
        plan=Sum("from_plan"),
    )
    for row in sums:
        use = found[row["meter"]]
        use.used, use.reserved, use.from_plan = row["used"] or 0, row["reserved"] or 0, row["plan"] or 0
    by_day = rows.annotate(day=TruncDate("created_at", tzinfo=UTC)).values_list("meter", "day")
    for meter, day, amount in by_day.annotate(total=Sum("counts")):
        found[meter].days[day] = amount
    for meter, parts in _parts(rows, "user__name", "user__email", name=_person):
        found[meter].members = parts
    for meter, parts in _parts(rows.exclude(api_key=None), "api_key__name", "api_key__start", name=_key):
        found[meter].keys = parts
    for meter, parts in _parts(rows, "kind", name=lambda row: str(row["kind"] or "other")):
        found[meter].kinds = parts
    return found


def granted_left(workspace: Workspace) -> dict[str, int]:
    """Return what is left of the grants that count now, by meter."""
    left: Counter[str] = Counter()
    for grant, amount in grants(workspace.pk, PERIOD_METERS, timezone.now()):
        left[grant.meter] += amount
    return dict(left)


def _parts(rows: QuerySet[Any], *by: str, name: Any) -> list[tuple[str, list[Part]]]:
    grouped: dict[str, list[Part]] = defaultdict(list)
    for row in rows.values("meter", *by).annotate(total=Sum("counts")).order_by("-total"):
        if row["total"]:
            grouped[row["meter"]].append(Part(name(row), row["total"]))
    return list(grouped.items())


def _person(row: dict[str, Any]) -> str:
    return str(row["user__name"] or row["user__email"] or "somebody who is gone")


def _key(row: dict[str, Any]) -> str:
    return f"{row['api_key__name']} ({row['api_key__start']}…)"


def days_of(period: Period) -> list[date]:
    """Return the days that the period touches, in UTC."""
    first, last = period.start.astimezone(UTC).date(), (period.end - timedelta(microseconds=1)).astimezone(UTC).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
