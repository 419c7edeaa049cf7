"""The plan of a workspace."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.billing import stripe
from apps.billing.plans import PLANS, TOP_UPS
from apps.billing.services import money
from apps.billing.services.subscriptions import subscription_of


@require_safe
@member("viewer")
def plan(request: WorkspaceRequest) -> HttpResponse:
    """Show the plan that is in force, and what can be bought."""
    row = subscription_of(request.workspace)
    context = {
        "workspace": request.workspace,
        "subscription": row,
        "plan": row.effective(),
        "is_live": money.is_live(row),
        "plans": [one for one in PLANS.values() if one.is_for_sale],
        "top_ups": TOP_UPS.values(),
        "may_buy": stripe.is_on() and request.membership.may("admin"),
    }
    return render(request, "billing/plan.html", context)
