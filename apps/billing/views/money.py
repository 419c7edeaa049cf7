"""Buttons that cost money, for owners and admins: each asks Stripe, then leads to its page or back to the plan's."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.billing import stripe
from apps.billing.models import Subscription
from apps.billing.services import money
from apps.billing.services.subscriptions import subscription_of
from apps.billing.services.sync import sync
from apps.errors import Refused


def _address(request: WorkspaceRequest, name: str) -> str:
    return f"{settings.SITE_URL}{reverse(name, args=[request.workspace.slug])}"


def _later(request: WorkspaceRequest) -> HttpResponse:
    return _back(request, "It is done. Stripe did not say yet how the plan stands; it shows up here within minutes.")


def _back(request: WorkspaceRequest, said: str) -> HttpResponse:
    messages.success(request, said)
    return redirect("billing:plan", request.workspace.slug)


@require_POST
@member("admin")
def checkout(request: WorkspaceRequest) -> HttpResponse:
    """Go to where a plan is paid."""
    url = money.start_checkout(
        workspace=request.workspace,
        user=request.user,
        plan=request.POST.get("plan", ""),
        done_url=_address(request, "billing:done"),
        back_url=_address(request, "billing:plan"),
    )
    return redirect(url)


@require_POST
@member("admin")
def top_up(request: WorkspaceRequest) -> HttpResponse:
    """Go to where a top-up is paid."""
    url = money.buy_top_up(
        workspace=request.workspace,
        user=request.user,
        top_up=request.POST.get("top_up", ""),
        done_url=_address(request, "billing:done"),
        back_url=_address(request, "billing:plan"),
    )
    return redirect(url)


@require_POST
@member("admin")
def portal(request: WorkspaceRequest) -> HttpResponse:
    """Go to Stripe's own pages about cards, addresses and invoices."""
    return redirect(money.open_portal(workspace=request.workspace, return_url=_address(request, "billing:done")))


@require_POST
@member("admin")
def change(request: WorkspaceRequest) -> HttpResponse:
    """Change the plan."""
    row = money.change_plan(workspace=request.workspace, user=request.user, plan=request.POST.get("plan", ""))
    if row is None:
        return _later(request)
    if row.next_plan:
        return _back(request, "The plan changes when the paid month is over.")
    return _back(request, f"The plan is {row.effective().name} now.")


@require_POST
@member("admin")
def cancel(request: WorkspaceRequest) -> HttpResponse:
    """End the subscription when its paid period is over."""
    row = money.cancel(workspace=request.workspace, user=request.user)
    if row is None:
        return _later(request)
    day = f"{row.cancels_at:%d %B %Y}" if row.cancels_at else "the end of the paid period"
    return _back(request, f"Cancelled: the plan stays until {day}.")


@require_POST
@member("admin")
def resume(request: WorkspaceRequest) -> HttpResponse:
    """Take back a cancellation or a coming change."""
    row = money.resume(workspace=request.workspace, user=request.user)
    if row is None:
        return _later(request)
    return _back(request, f"The plan stays {row.effective().name}.")


@never_cache
@require_safe
@member("admin")
def done(request: WorkspaceRequest) -> HttpResponse:
    """Take who comes back from Stripe to the plan, brought up to date: the webhook may still be on its way."""
    if not stripe.is_on():
        return redirect("billing:plan", request.workspace.slug)
    try:
        row = sync(subscription_of(request.workspace))
    except Refused:
        messages.info(request, "Stripe did not answer yet; what you paid shows up here within minutes.")
        return redirect("billing:plan", request.workspace.slug)
    if row.status == Subscription.Status.PAST_DUE:
        messages.warning(request, "A payment failed. Open your payment details to pay it.")
        return redirect("billing:plan", request.workspace.slug)
    return _back(request, f"Up to date: the plan is {row.effective().name}.")


@require_safe
@member("admin")
def invoices(request: WorkspaceRequest) -> HttpResponse:
    """What was charged so far, as Stripe has it."""
    found = money.invoices(request.workspace)
    return render(request, "billing/invoices.html", {"workspace": request.workspace, "invoices": found})
