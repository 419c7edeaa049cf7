"""A workspace's subscription: found, locked, changed, and written down into the columns that lower rooms read."""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.billing.models import Subscription
from apps.billing.plans import PLANS, Plan
from apps.errors import Refused


def subscription_of(workspace: Workspace) -> Subscription:
    """Return the workspace's subscription; one that has none yet gets a row with the site's default plan.

    What that plan allows is written into the workspace then, unless it limits nothing: staff may have set limits of
    their own.
    """
    found, is_new = Subscription.objects.get_or_create(workspace=workspace, defaults={"anchor": workspace.created_at})
    if is_new and any(limit is not None for limit in found.effective().limits.values()):
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
    """Write what the plan in force allows into the workspace's own columns; say whether that changed any."""
    plan = subscription.effective()
    wanted = {
        "seats": plan.limits["seats"],
        "voice_limit": plan.limits["voices"],
        "storage_limit": plan.limits["storage_bytes"],
        "job_limit": plan.jobs_at_once,
        "job_weight": plan.weight,
        "retention_days": plan.retention_days,
    }
    row = Workspace.objects.filter(pk=subscription.workspace_id)
    return bool(row.exclude(**wanted).update(**wanted))
