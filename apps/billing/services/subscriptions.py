"""A workspace's subscription: found, locked, changed, and written down into the columns that lower rooms read."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.billing.models import GRACE, Subscription
from apps.billing.plans import PLANS, Plan, default_plan
from apps.errors import Refused

BATCH = 500


def subscription_of(workspace: Workspace) -> Subscription:
    """Return the workspace's subscription; one that has none yet gets a row with the site's default plan, and what
    that allows is written into the workspace."""
    found, is_new = Subscription.objects.get_or_create(workspace=workspace, defaults={"anchor": workspace.created_at})
    if is_new:
        apply(found)
    return found


def locked(workspace: Workspace) -> Subscription:
    """Return the subscription, locked until the caller's transaction ends: what orders all reservations."""
    subscription_of(workspace)
    # Its workspace's row stays free: claiming a job holds that one, and waits for a job that is just being settled.
    rows = Subscription.objects.select_for_update(of=("self",), no_key=True)
    return rows.select_related("workspace").get(workspace=workspace)


def plan_of(workspace: Workspace) -> Plan:
    """Return the plan that is in force for the workspace now."""
    return subscription_of(workspace).effective()


def assign(*, workspace: Workspace, plan: str, by: User) -> Subscription:
    """Give the workspace a plan without Stripe, empty for the site's default: what staff do.

    Raises Refused (409) while a subscription at Stripe goes on, which would write over it.
    """
    if plan and plan not in PLANS:
        raise Refused("There is no such plan.", status=404)
    with transaction.atomic():
        row = locked(workspace)
        if row.status not in (Subscription.Status.NONE, Subscription.Status.CANCELLED):
            raise Refused("This workspace pays for a subscription at Stripe. End that first.", status=409)
        before = row.effective().slug
        row.plan, row.status = plan, Subscription.Status.NONE
        row.save(update_fields=["plan", "status"])
        apply(row)
        data = {"before": before, "after": row.effective().slug}
        audit(workspace=row.workspace, user=by, action="plan.assigned", target=row.effective().name, data=data)
    return row


def apply(subscription: Subscription) -> bool:
    """Write what the plan in force allows into the workspace's own columns; say whether there was anything to write.

    Only what differs from what was written last is: what staff set by hand since stays until the plan changes. Results
    that are there keep their dates, also where a smaller plan keeps what is made from now on for fewer days.
    """
    wanted = allowed_by(subscription.effective())
    if subscription.written == wanted:
        return False
    columns = {name: wanted.get(name, value) for name, value in NO_LIMITS.items()}
    workspace = Workspace.objects.get(pk=subscription.workspace_id)
    days_before = workspace.keeps_days
    workspace.retention_days = columns["retention_days"]
    if (days := workspace.keeps_days) and (not days_before or days < days_before):
        columns["retention_applied"] = days
    Workspace.objects.filter(pk=workspace.pk).update(**columns)
    subscription.written = wanted
    Subscription.objects.filter(pk=subscription.pk).update(written=wanted)
    return True


NO_LIMITS: dict[str, int | None] = {
    "seats": None,
    "voice_limit": None,
    "storage_limit": None,
    "job_limit": None,
    "job_weight": 1,
    "retention_days": None,
}
"""A workspace's columns where its plan limits nothing."""


def allowed_by(plan: Plan) -> dict[str, int | None]:
    """Return what a plan writes into a workspace's columns, as far as that differs from no limits."""
    columns = {
        "seats": plan.limits["seats"],
        "voice_limit": plan.limits["voices"],
        "storage_limit": plan.limits["storage_bytes"],
        "job_limit": plan.jobs_at_once,
        "job_weight": plan.weight,
        "retention_days": plan.retention_days,
    }
    return {name: value for name, value in columns.items() if value != NO_LIMITS[name]}


def begin() -> int:
    """Give workspaces that have no subscription yet one with the site's default plan; say how many."""
    new = list(Workspace.objects.filter(subscription=None, deleted_at=None)[:BATCH])
    for workspace in new:
        subscription_of(workspace)
    return len(new)


def mend() -> int:
    """Write down what plans allow where that is not written: a grace is over, a limit or the site's default plan has
    changed. Say in how many workspaces, at most BATCH of each plan.
    """
    return sum(_mend(pk) for plan in PLANS.values() for pk in _unwritten(plan))


def _unwritten(plan: Plan) -> list[int]:
    over = Q(past_due_since__isnull=False, past_due_since__lte=timezone.now() - GRACE)
    is_theirs = Q(plan=plan.slug) & ~over
    if plan == default_plan():
        is_theirs |= Q(plan="") | over
    found = Subscription.objects.filter(is_theirs).exclude(written=allowed_by(plan))
    return list(found.values_list("workspace", flat=True)[:BATCH])


def _mend(workspace_pk: int) -> bool:
    with transaction.atomic():
        row = locked(Workspace.objects.get(pk=workspace_pk))
        if not apply(row):
            return False
        if row.grace_is_over():
            data = {"before": row.plan, "after": row.effective().slug, "unpaid_since": str(row.past_due_since)}
            audit(workspace=row.workspace, user=None, action="plan.changed", target=row.effective().name, data=data)
    return True
