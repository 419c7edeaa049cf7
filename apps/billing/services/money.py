"""What people do with money: buy a plan, change it, cancel it, buy more of a meter. Each asks Stripe first how things
stand, does one thing there, and writes down what came of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.billing import stripe
from apps.billing.models import Subscription
from apps.billing.plans import PLANS, TOP_UPS, Plan, default_plan
from apps.billing.services import changes, trials
from apps.billing.services.catalog import price_of
from apps.billing.services.subscriptions import subscription_of
from apps.billing.services.sync import STATUSES, sync
from apps.errors import Refused

if TYPE_CHECKING:
    from stripe.params.checkout import SessionCreateParams

log = logging.getLogger(__name__)
LEAST_SECONDS = 600  # that an open pay page must still be good for, to be gone on with
Status = Subscription.Status


@dataclass(frozen=True)
class Invoice:
    """One of Stripe's invoices, for people; ``total`` in cents."""

    number: str
    at: datetime
    total: int
    currency: str
    status: str
    url: str
    pdf: str


def is_live(row: Subscription) -> bool:
    """Say whether a subscription at Stripe goes on."""
    return row.status in STATUSES.values()


def start_checkout(*, workspace: Workspace, user: User, plan: str, done_url: str, back_url: str) -> str:
    """Return the address of the page where the workspace's first payment for a plan is made.

    Raises Refused: 404 for a plan that is not for sale, 409 where there is a subscription already.
    """
    wanted = for_sale(plan)
    row = _synced(workspace)
    if is_live(row):
        raise Refused("This workspace has a subscription. Change its plan instead.", status=409)
    row = _with_customer(row, user)
    trial = wanted.trial_days if trials.may_try(row) else 0
    price = price_of(wanted.slug, wanted.price or 0)
    about = {"workspace": str(workspace.code), "plan": wanted.slug, "price": price, "trial": str(trial)}
    params: SessionCreateParams = {
        "mode": "subscription",
        "line_items": [{"price": price, "quantity": 1}],
        "subscription_data": {"metadata": {"workspace": str(workspace.code)}},
    }
    if trial:
        params["subscription_data"]["trial_period_days"] = trial
    url = _session(row, params, about, done_url, back_url)
    audit(workspace=workspace, user=user, action="billing.checkout", target=wanted.name, data={"plan": wanted.slug})
    return url


def buy_top_up(*, workspace: Workspace, user: User, top_up: str, done_url: str, back_url: str) -> str:
    """Return the address of the page where a top-up is paid. Raises Refused (404) for one that does not exist."""
    stripe.client()
    thing = TOP_UPS.get(top_up)
    if thing is None:
        raise Refused("There is no such top-up. Choose one of the list.", status=404)
    row = _with_customer(_synced(workspace), user)
    price = price_of(thing.slug, thing.price)
    about = {
        "workspace": str(workspace.code),
        "top_up": thing.slug,
        "price": price,
        # What was sold is what is granted, whatever the list says by then.
        "name": thing.name,
        "meter": thing.meter,
        "amount": str(thing.amount),
        "valid_days": str(thing.valid_days),
    }
    params: SessionCreateParams = {
        "mode": "payment",
        "line_items": [{"price": price, "quantity": 1}],
        "invoice_creation": {"enabled": True},
        "payment_intent_data": {"metadata": about},
    }
    url = _session(row, params, about, done_url, back_url)
    audit(workspace=workspace, user=user, action="billing.top_up", target=thing.name, data={"top_up": thing.slug})
    return url


def _session(
    row: Subscription, params: SessionCreateParams, about: dict[str, str], done_url: str, back_url: str
) -> str:
    """Return the address of a pay page: of one that is open for the same thing, else of a new one.

    Other open pages for a plan are closed, so that nobody pays for two.
    """
    service, customer = stripe.client().v1.checkout.sessions, str(row.stripe_customer)
    with stripe.asking():
        latest = service.list({"customer": customer, "limit": 1}).data
        for old in stripe.open_pages(customer):
            good = old.expires_at - timezone.now().timestamp() > LEAST_SECONDS
            if old.url and good and old.metadata is not None and old.metadata.to_dict() == about:
                return str(old.url)
            if old.mode == params["mode"] == "subscription" and not stripe.close_page(old.id):
                raise Refused("A plan was paid for just now. Look at the plan in a minute.", status=409)
        params |= {
            "customer": customer,
            "client_reference_id": about["workspace"],
            "metadata": about,
            "success_url": done_url,
            "cancel_url": back_url,
        }
        if settings.STRIPE_TAX:
            params |= {
                "automatic_tax": {"enabled": True},
                "customer_update": {"address": "auto", "name": "auto"},
                "tax_id_collection": {"enabled": True},
            }
        if settings.STRIPE_PROMOTION_CODES:
            params["allow_promotion_codes"] = True
        # Two clicks at once know the same latest page, and so get the same new one. Stripe answers the same for a day,
        # also that it failed: the next hour can try again.
        hour = f"{timezone.now():%Y-%m-%dT%H}"
        key = stripe.intent("checkout", latest[0].id if latest else customer, hour, sorted(params.items()))
        made = service.create(params, {"idempotency_key": key})
    return str(made.url)


def open_portal(*, workspace: Workspace, return_url: str) -> str:
    """Return the address of Stripe's own pages: cards, invoices. Raises Refused (409) before any purchase."""
    client, row = stripe.client(), subscription_of(workspace)
    if not row.stripe_customer:
        raise Refused("Nothing has been bought yet. Choose a plan first.", status=409)
    with stripe.asking():
        return client.v1.billing_portal.sessions.create({"customer": row.stripe_customer, "return_url": return_url}).url


def change_plan(*, workspace: Workspace, user: User, plan: str) -> Subscription | None:
    """Change the plan: to a higher one now, with a new month; to a lower one when the month is over.

    Return the subscription, or None when it is done and Stripe does not say yet how things stand. Raises Refused: 402
    when the card is declined or an invoice is open, 409 without a subscription.
    """
    wanted = for_sale(plan)
    row = _live(workspace)
    if row.status == Status.PAST_DUE:
        raise Refused("Pay the open invoice first: see your payment details.", status=402)
    current = PLANS.get(row.plan) or default_plan()
    if wanted.slug == row.plan:
        changes.keep(row)
    elif wanted.rank > current.rank or row.status == Status.TRIALING:
        changes.change_now(row, wanted, price_of(wanted.slug, wanted.price or 0))
    else:
        changes.change_later(row, wanted, price_of(wanted.slug, wanted.price or 0))
    audit(
        workspace=workspace, user=user, action="billing.plan", target=wanted.name, data={"from": row.plan, "to": plan}
    )
    return _as_it_stands(row)


def cancel(*, workspace: Workspace, user: User | None) -> Subscription | None:
    """End the subscription when its paid period is over. Return as ``change_plan``. Raises Refused (409) where there
    is none."""
    row = _live(workspace)
    changes.cancel(row)
    audit(workspace=workspace, user=user, action="billing.cancelled", target=row.effective().name)
    return _as_it_stands(row)


def resume(*, workspace: Workspace, user: User) -> Subscription | None:
    """Take back a cancellation or a coming change to a lower plan. Return as ``change_plan``. Raises Refused (409)
    where there is nothing."""
    row = _live(workspace)
    if row.cancels_at is None and not row.next_plan:
        raise Refused("Nothing is about to change.", status=409)
    changes.keep(row)
    audit(workspace=workspace, user=user, action="billing.resumed", target=row.effective().name)
    return _as_it_stands(row)


def _as_it_stands(row: Subscription) -> Subscription | None:
    """Return the row brought up to date. What was done is done, also when Stripe does not say how things stand now."""
    try:
        return sync(row)
    except Refused as refusal:
        log.warning("subscription %s was changed and not asked for yet: %s", row.stripe_subscription, refusal.message)
        return None


def cancel_for_deleted() -> int:
    """Let the subscriptions of deleted workspaces run out; say how many. One that is restored can take it back."""
    rows = Subscription.objects.filter(status__in=STATUSES.values(), cancels_at=None).select_related("workspace")
    count = 0
    for row in rows.exclude(workspace__deleted_at=None) if stripe.is_on() else ():
        try:
            cancel(workspace=row.workspace, user=None)
            count += 1
        except Refused as refusal:
            log.error("the subscription of deleted workspace %s goes on: %s", row.workspace.code, refusal.message)
    return count


def forget_customer(workspace: Workspace) -> None:
    """Remove the customer of a workspace that is to be gone: whatever it pays for ends at once. Again does nothing."""
    row = Subscription.objects.filter(workspace=workspace).exclude(stripe_customer=None).first()
    if row is None or not stripe.is_on():
        return
    stripe.delete_customer(str(row.stripe_customer))
    Subscription.objects.filter(pk=row.pk).update(stripe_customer=None)


def invoices(workspace: Workspace) -> list[Invoice]:
    """Return the workspace's newest invoices, at most 24; none on a site that sells nothing."""
    row = subscription_of(workspace)
    if not stripe.is_on() or not row.stripe_customer:
        return []
    with stripe.asking():
        found = stripe.client().v1.invoices.list({"customer": row.stripe_customer, "limit": 24}).data
    return [
        Invoice(
            number=one.number or one.id or "",
            at=datetime.fromtimestamp(one.created, UTC),
            total=one.total,
            currency=one.currency,
            status=one.status or "",
            url=one.hosted_invoice_url or "",
            pdf=one.invoice_pdf or "",
        )
        for one in found
        if one.status != "draft"
    ]


def for_sale(plan: str) -> Plan:
    """Return a plan that Stripe sells. Raises Refused: 409 on a site that sells nothing, 404 for any other plan."""
    stripe.client()
    wanted = PLANS.get(plan)
    if wanted is None or not wanted.is_for_sale:
        raise Refused("This plan cannot be bought. Choose one of the list.", status=404)
    return wanted


def _synced(workspace: Workspace) -> Subscription:
    stripe.client()
    return sync(subscription_of(workspace))


def _live(workspace: Workspace) -> Subscription:
    row = _synced(workspace)
    if not is_live(row):
        raise Refused("This workspace has no subscription. Choose a plan first.", status=409)
    return row


def _with_customer(row: Subscription, user: User) -> Subscription:
    """Return the row with Stripe's customer for it, made now if there is none yet: two at once make one."""
    if row.stripe_customer:
        return row
    params: dict[str, Any] = {
        "name": row.workspace.name,
        "email": user.email,
        "metadata": {"workspace": str(row.workspace.code)},
    }
    key = stripe.intent("customer", row.workspace.code, row.synced_at, sorted(params.items()))
    with stripe.asking():
        made = stripe.client().v1.customers.create(params, {"idempotency_key": key})  # type: ignore[arg-type]
    Subscription.objects.filter(pk=row.pk, stripe_customer=None).update(stripe_customer=made.id)
    return Subscription.objects.select_related("workspace").get(pk=row.pk)
