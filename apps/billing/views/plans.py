"""The plan of a workspace: what it holds, how it stands, and what a change would mean."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.billing import offers, warnings
from apps.billing.models import GRACE, Subscription
from apps.billing.plans import METERS, PLANS, TOP_UPS
from apps.billing.services import holdings, money, trials
from apps.billing.services.subscriptions import subscription_of


@require_safe
@member("viewer")
def plan(request: WorkspaceRequest) -> HttpResponse:
    """The plan in force, its limits and state, the other plans beside it, and top-ups."""
    workspace = request.workspace
    subscription = subscription_of(workspace)
    current = subscription.effective()
    context = {
        "workspace": workspace,
        "subscription": subscription,
        "is_live": money.is_live(subscription),
        "plan": current,
        "next_plan": PLANS.get(subscription.next_plan),
        "wanted_plan": PLANS.get(subscription.plan),
        "grace_until": subscription.past_due_since + GRACE if subscription.past_due_since else None,
        "period": subscription.period(),
        "held": _held(subscription),
        "cards": offers.cards(current),
        "top_ups": TOP_UPS.values(),
        "sells": bool(settings.STRIPE_SECRET_KEY),
        "may_try": trials.may_try(subscription),
        "may_manage": request.membership.may("admin"),
        "standings": warnings.standings(workspace),
    }
    return render(request, "billing/plan.html", context)


@dataclass(frozen=True)
class Held:
    """What is held of one meter, beside what the plan holds ("" for any amount)."""

    name: str
    held: str
    limit: str
    is_over: bool


def _held(subscription: Subscription) -> list[Held]:
    limits = subscription.effective().limits
    return [
        Held(
            name=METERS[meter].name.capitalize(),
            held=offers.value(meter, count),
            limit="" if (limit := limits[meter]) is None else offers.value(meter, limit),
            is_over=limit is not None and count > limit,
        )
        for meter, count in holdings.held(subscription.workspace).items()
    ]
