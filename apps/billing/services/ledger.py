"""The ledger of what is used up: reserve before the start, then settle what was used, or release.

All of it happens under the lock of the workspace's subscription, so reservations of a workspace are made one after the
other and none sees half of another. Settling, releasing and refunding are conditional on the state they leave, so doing
them twice does nothing. A reservation that has expired no longer counts: whoever died gives it back without help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from apps.accounts.models import ApiKey, User, Workspace
from apps.accounts.services import audit
from apps.billing import amounts, warnings
from apps.billing.errors import QuotaExceeded
from apps.billing.models import Draw, Grant, Subscription, UsageEvent
from apps.billing.periods import Period
from apps.billing.plans import METERS, PERIOD_METERS
from apps.billing.services.subscriptions import locked, subscription_of

State = UsageEvent.State
# Whoever works on it pushes this on; see ``extend``.
RESERVED_FOR = timedelta(hours=24)
ABANDONED_AFTER = timedelta(days=7)
TIDIED_AT_ONCE = 500


@dataclass(frozen=True)
class Balance:
    """What a workspace has of a meter in a period, in the meter's unit; None is any amount.

    ``used`` and ``reserved`` count all of it, whoever pays; ``granted`` is what is left of grants.
    """

    meter: str
    period: Period
    allowance: int | None
    used: int
    reserved: int
    plan_left: int | None
    granted: int

    @property
    def left(self) -> int | None:
        """How much more can be reserved now."""
        return None if self.plan_left is None else self.plan_left + self.granted


def counted(now: datetime) -> Q:
    """Return the condition under which a usage event counts."""
    return Q(state=State.SETTLED) | Q(state=State.RESERVED, expires_at__gt=now)


def balance(workspace: Workspace, meter: str, *, now: datetime | None = None) -> Balance:
    """Return what is left of a meter now."""
    return _balances(subscription_of(workspace), [meter], now or timezone.now())[meter]


def balances(workspace: Workspace, *, now: datetime | None = None) -> dict[str, Balance]:
    """Return what is left of every meter that is counted by the period."""
    return _balances(subscription_of(workspace), PERIOD_METERS, now or timezone.now())


def _balances(
    subscription: Subscription, meters: Collection[str], now: datetime, *, at: datetime | None = None
) -> dict[str, Balance]:
    """Return what is left now of the period that ``at`` lies in, this one when it is None."""
    period = subscription.period(at or now)
    rows = UsageEvent.objects.filter(
        counted(now),
        workspace=subscription.workspace_id,
        meter__in=meters,
        created_at__gte=period.start,
        created_at__lt=period.end,
    )
    sums = (
        rows.order_by()
        .values("meter")
        .annotate(
            plan=Sum("from_plan"),
            used=Sum("spent", filter=Q(state=State.SETTLED)),
            reserved=Sum("amount", filter=Q(state=State.RESERVED)),
        )
    )
    by_meter: dict[str, Mapping[str, Any]] = {row["meter"]: row for row in sums}
    granted: Counter[str] = Counter()
    for grant, left in grants(subscription.workspace_id, meters, now):
        granted[grant.meter] += left
    limits = subscription.effective(now).limits
    return {meter: _balance(meter, period, limits[meter], by_meter.get(meter, {}), granted[meter]) for meter in meters}


def _balance(meter: str, period: Period, allowance: int | None, sums: Mapping[str, Any], granted: int) -> Balance:
    return Balance(
        meter=meter,
        period=period,
        allowance=allowance,
        used=sums.get("used") or 0,
        reserved=sums.get("reserved") or 0,
        # A smaller plan, in the middle of a month, may allow less than was used already.
        plan_left=None if allowance is None else max(0, allowance - (sums.get("plan") or 0)),
        granted=granted,
    )


def grants(workspace_pk: int, meters: Collection[str], now: datetime) -> list[tuple[Grant, int]]:
    """Return the grants that something is left of and how much, in the order in which they are used."""
    drawn = Q(draws__event__state=State.SETTLED) | Q(
        draws__event__state=State.RESERVED, draws__event__expires_at__gt=now
    )
    rows = Grant.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), workspace=workspace_pk, meter__in=meters)
    rows = rows.annotate(taken=Coalesce(Sum("draws__amount", filter=drawn), 0))
    # A query that adds up leaves out the model's own order unless it is told.
    rows = rows.order_by(F("expires_at").asc(nulls_last=True), "pk")
    return [(grant, left) for grant in rows if (left := grant.amount - grant.taken) > 0]


@transaction.atomic
def reserve(
    *,
    workspace: Workspace,
    meter: str,
    amount: int,
    key: str,
    kind: str = "",
    user: User | None = None,
    api_key: ApiKey | None = None,
) -> UsageEvent:
    """Set ``amount`` of a meter aside under ``key``, or return the reservation that has this key already.

    Raises QuotaExceeded when less is left, or when the API key's own cap would be passed; ValueError for a key whose
    reservation has ended, and for an amount below 1.
    """
    if amount < 1 or METERS[meter].held:
        raise ValueError(f"{amount} of {meter} cannot be reserved")
    subscription = locked(workspace)
    now = timezone.now()
    if (earlier := _earlier(key, now)) is not None:
        return earlier
    if api_key is not None:
        _require_cap(subscription, api_key, meter, amount, now)
    here = _balances(subscription, [meter], now)[meter]
    _require_left(here, amount)
    event = UsageEvent(
        workspace=workspace,
        user=user,
        api_key=api_key,
        meter=meter,
        kind=kind,
        key=key,
        amount=amount,
        created_at=now,
        expires_at=now + RESERVED_FOR,
    )
    _charge(event, amount, here, now)
    return event


def _earlier(key: str, now: datetime) -> UsageEvent | None:
    found = UsageEvent.objects.filter(key=key).first()
    if found is not None and (found.state != State.RESERVED or found.expires_at <= now):
        raise ValueError(f"the reservation {key} has ended")
    return found


def _require_left(here: Balance, amount: int) -> None:
    if here.left is not None and amount > here.left:
        sentence = amounts.refusal(here.meter, amount, here.left, here.period.end)
        raise QuotaExceeded(sentence, meter=here.meter, wanted=amount, left=here.left, resets_at=here.period.end)


def _require_cap(subscription: Subscription, api_key: ApiKey, meter: str, amount: int, now: datetime) -> None:
    cap = api_key.caps.get(meter)
    if cap is None:
        return
    period = subscription.period(now)
    rows = UsageEvent.objects.filter(counted(now), api_key=api_key, meter=meter, created_at__gte=period.start)
    sums = rows.aggregate(
        used=Sum("spent", filter=Q(state=State.SETTLED)), reserved=Sum("amount", filter=Q(state=State.RESERVED))
    )
    left = max(0, cap - (sums["used"] or 0) - (sums["reserved"] or 0))
    if amount > left:
        sentence = amounts.cap_refusal(meter, amount, left, period.end)
        raise QuotaExceeded(sentence, meter=meter, wanted=amount, left=left, resets_at=period.end)


def _charge(event: UsageEvent, amount: int, here: Balance, now: datetime) -> None:
    """Write the event with ``amount`` divided: the plan pays first, then the grants that expire soonest.

    The caller has seen that so much is left.
    """
    event.from_plan = amount if here.plan_left is None else min(amount, here.plan_left)
    event.save()
    rest = amount - event.from_plan
    for grant, left in grants(event.workspace_id, [event.meter], now) if rest else []:
        part = min(rest, left)
        Draw.objects.create(event=event, grant=grant, amount=part)
        rest -= part
        if not rest:
            break


@transaction.atomic
def settle(event_pk: int, *, delivered: int | None = None) -> bool:
    """Charge what was delivered of a reservation, None: all of it; say whether this call did.

    It never costs more than was reserved: what was delivered beyond that is waived. If the reservation expired
    meanwhile, others may have had what it held: then what is still left is charged, and the rest waived.
    """
    event, subscription = _locked_event(event_pk)
    if event.state != State.RESERVED:
        return False
    now = timezone.now()
    used = event.amount if delivered is None else delivered
    charged = min(used, event.amount)
    if event.expires_at <= now:
        event.draws.all().delete()
        here = _balances(subscription, [event.meter], now, at=event.created_at)[event.meter]
        charged = charged if here.left is None else min(charged, here.left)
        _charge(event, charged, here, now)
    elif charged < event.amount:
        _give_back(event, event.amount - charged)
    event.state, event.spent, event.waived, event.ended_at = State.SETTLED, charged, used - charged, now
    event.save()
    transaction.on_commit(partial(warnings.look, event.workspace_id, event.meter), robust=True)
    return True


def _give_back(event: UsageEvent, amount: int) -> None:
    """Take ``amount`` off what the event holds: what was paid for with grants first."""
    for draw in event.draws.order_by(F("grant__expires_at").desc(nulls_first=True), "-grant"):
        part = min(amount, draw.amount)
        amount -= part
        if part == draw.amount:
            draw.delete()
        else:
            Draw.objects.filter(pk=draw.pk).update(amount=F("amount") - part)
        if not amount:
            return
    event.from_plan -= amount


@transaction.atomic
def release(event_pk: int) -> bool:
    """Give a reservation back; say whether this call did."""
    event, _ = _locked_event(event_pk)
    if event.state != State.RESERVED:
        return False
    event.state, event.ended_at = State.RELEASED, timezone.now()
    event.save()
    return True


@transaction.atomic
def refund(event: UsageEvent, *, by: User | None, reason: str) -> bool:
    """Give back what was charged, as staff may; say whether this call did. Written to the workspace's audit log."""
    row, _ = _locked_event(event.pk)
    if row.state != State.SETTLED:
        return False
    row.state, row.note, row.ended_at = State.REFUNDED, reason[:200], timezone.now()
    row.save()
    data = {"meter": row.meter, "amount": row.spent, "reason": row.note}
    audit(workspace=row.workspace, user=by, action="usage.refunded", target=row.key, data=data)
    return True


def extend(event_pks: Iterable[int]) -> int:
    """Let reservations that somebody still works on, or that wait for their turn, count on; return how many.

    One that has expired stays so: what it held may be somebody else's by now.
    """
    now = timezone.now()
    open_ones = UsageEvent.objects.filter(pk__in=list(event_pks), state=State.RESERVED, expires_at__gt=now)
    return open_ones.update(expires_at=now + RESERVED_FOR)


@transaction.atomic
def grant(
    *,
    workspace: Workspace,
    meter: str,
    amount: int,
    source: str,
    reason: str,
    key: str,
    user: User | None = None,
    expires_at: datetime | None = None,
) -> Grant:
    """Give the workspace ``amount`` beyond its plan, once for each ``key``, and write it to its audit log."""
    if METERS[meter].held:
        raise ValueError(f"{meter} is held, not used up")
    locked(workspace)
    found, is_new = Grant.objects.get_or_create(
        key=key,
        defaults={
            "workspace": workspace,
            "meter": meter,
            "amount": amount,
            "source": source,
            "reason": reason[:200],
            "created_by": user,
            "expires_at": expires_at,
        },
    )
    if is_new:
        data = {"meter": meter, "amount": amount, "reason": found.reason, "source": str(source)}
        audit(workspace=workspace, user=user, action="usage.granted", target=amounts.shown(meter, amount), data=data)
    return found


def tidy() -> int:
    """Release reservations that have counted for nobody for a week; say how many."""
    before = timezone.now() - ABANDONED_AFTER
    dead = UsageEvent.objects.filter(state=State.RESERVED, expires_at__lte=before).values_list("pk", flat=True)
    return sum(release(pk) for pk in dead[:TIDIED_AT_ONCE])


def _locked_event(event_pk: int) -> tuple[UsageEvent, Subscription]:
    """Return the event as it stands under its workspace's lock."""
    workspace = Workspace.objects.get(usage_events=event_pk)
    subscription = locked(workspace)
    return UsageEvent.objects.select_related("workspace").get(pk=event_pk), subscription
