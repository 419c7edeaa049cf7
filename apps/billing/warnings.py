"""Telling people that a period's allowance is nearly or all used: a letter once, a banner as long as it is so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.urls import reverse

from apps.accounts.mail import usage_letter
from apps.accounts.models import Membership, Role, Workspace
from apps.billing import amounts
from apps.billing.models import Notice, Subscription, UsageEvent
from apps.billing.plans import METERS, PERIOD_METERS
from apps.billing.services.subscriptions import subscription_of

PERCENTS = (80, 100)
State = UsageEvent.State


@dataclass(frozen=True)
class Standing:
    """That so much of a plan's allowance is used, and when it begins anew."""

    meter: str
    percent: int
    used: int
    allowance: int
    ends: datetime

    @property
    def sentence(self) -> str:
        """Say it."""
        name, day = METERS[self.meter].name, amounts.day(self.ends)
        whole = amounts.shown(self.meter, self.allowance)
        if self.percent >= 100:
            return f"All of your plan's {whole} of {name} is used. It begins anew on {day}."
        return f"{self.percent} % of your plan's {whole} of {name} is used. It begins anew on {day}."


def standings(workspace: Workspace) -> list[Standing]:
    """Return the meters of whose allowance 80 % or more is used in this period."""
    return _standings(subscription_of(workspace))


def _standings(subscription: Subscription) -> list[Standing]:
    period = subscription.period()
    limits = subscription.effective().limits
    if all(limits[meter] is None for meter in PERIOD_METERS):
        return []
    rows = UsageEvent.objects.filter(
        workspace=subscription.workspace_id, created_at__gte=period.start, created_at__lt=period.end
    )
    sums = dict(rows.filter(state=State.SETTLED).order_by().values_list("meter").annotate(plan=Sum("from_plan")))
    found = []
    for meter in PERIOD_METERS:
        allowance, used = limits[meter], sums.get(meter, 0)
        if allowance and 100 * used >= PERCENTS[0] * allowance:
            found.append(Standing(meter, min(100, 100 * used // allowance), used, allowance, period.end))
    return found


def look(workspace_pk: int, meter: str) -> int | None:
    """Write to owner and admins if 80 or 100 % of the meter's allowance is used and they were not told in this period.

    Return the percent that they were told of now. Only one of several callers tells it: a row for each percent of the
    meter's allowance and period is theirs who inserts it.
    """
    workspace = Workspace.objects.filter(pk=workspace_pk, deleted_at=None).first()
    if workspace is None:
        return None
    subscription = subscription_of(workspace)
    standing = next((one for one in _standings(subscription) if one.meter == meter), None)
    if standing is None:
        return None
    start = subscription.period().start
    with transaction.atomic():
        reached = [percent for percent in PERCENTS if standing.percent >= percent]
        found = [_notice(workspace, standing, start, percent) for percent in reached]
        new = [notice for notice, is_new in found if is_new]
        if not new:
            return None
        transaction.on_commit(partial(_tell, workspace, standing, [notice.pk for notice in new]), robust=True)
    return max(notice.percent for notice in new)


def _notice(workspace: Workspace, standing: Standing, start: datetime, percent: int) -> tuple[Notice, bool]:
    return Notice.objects.get_or_create(
        workspace=workspace, meter=standing.meter, period_start=start, percent=percent, allowance=standing.allowance
    )


def _tell(workspace: Workspace, standing: Standing, notices: list[int]) -> None:
    """Write to those who can do something about it. If no letter went out, the next use tries again."""
    link = f"{settings.SITE_URL}{reverse('billing:usage', args=[workspace.slug])}"
    facts = {
        "workspace": workspace,
        "sentence": standing.sentence,
        "is_all": standing.percent >= 100,
        "meter": METERS[standing.meter].name,
        "link": link,
        "sells": bool(settings.STRIPE_SECRET_KEY),
    }
    members = Membership.objects.filter(workspace=workspace, role__in=[Role.OWNER, Role.ADMIN]).select_related("user")
    sent = [usage_letter(membership.user, facts) for membership in members]
    if sent and not any(sent):
        Notice.objects.filter(pk__in=notices).delete()
