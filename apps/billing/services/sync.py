"""Writes down what Stripe says of a workspace's subscription: the object fetched again, never what an event told.

No database lock is held while Stripe is asked, so two that ask at the same time could write in the wrong order: the
older answer last. Therefore each remembers before it asks when the row was last written, and writes only if nobody
wrote since; else what it holds may be older than what stands there, and it asks again. Whoever writes has thus asked
after every earlier writer had written.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.accounts.services import audit
from apps.billing import stripe
from apps.billing.models import Grant, Subscription
from apps.billing.services import subscriptions, trials
from apps.billing.services.ledger import grant
from apps.billing.stripe import Facts
from apps.errors import Refused

log = logging.getLogger(__name__)
ROUNDS = 6
Status = Subscription.Status
STATUSES = {
    "trialing": Status.TRIALING,
    "active": Status.ACTIVE,
    "past_due": Status.PAST_DUE,
    "unpaid": Status.PAST_DUE,
}


def sync(subscription: Subscription) -> Subscription:
    """Ask Stripe and write what it says; return the row as it stands then.

    A workspace that Stripe does not know is left alone. Raises Refused (503) when Stripe cannot be asked.
    """
    for _ in range(ROUNDS):
        seen = Subscription.objects.get(pk=subscription.pk)
        if not seen.stripe_customer:
            return seen
        facts = stripe.fetch(seen.stripe_customer)
        written = _write_unless_written(seen, facts)
        if written is not None:
            _close_pages(seen, written, facts)
            return written
    raise Refused(stripe.AWAY, status=503)


def _close_pages(seen: Subscription, written: Subscription, facts: Facts) -> None:
    """Close the pay pages that are too many now: for the workspace's second plan, for its owner's second trial."""
    if facts.is_live:
        stripe.close_plan_pages(str(seen.stripe_customer))
    if seen.trialed_at is None and written.trialed_at is not None:
        for customer in trials.other_customers(written):
            stripe.close_plan_pages(customer)


def _write_unless_written(seen: Subscription, facts: Facts) -> Subscription | None:
    """Write the facts if the row is as it was before they were asked for; else None."""
    with transaction.atomic():
        row = subscriptions.locked(seen.workspace)
        if (row.synced_at, row.stripe_customer) != (seen.synced_at, seen.stripe_customer):
            return None
        before = row.effective().slug
        _write(row, facts)
        row.synced_at = next_moment(row.synced_at)
        row.save()
        subscriptions.apply(row)
        if (after := row.effective().slug) != before:
            data = {"before": before, "after": after}
            audit(workspace=row.workspace, user=None, action="plan.changed", target=row.effective().name, data=data)
        _grant(row, facts)
    return row


def next_moment(last: datetime | None) -> datetime:
    """Return now, but always later than ``last``: what tells one writing from another."""
    now = timezone.now()
    return now if last is None or last < now else last + timedelta(microseconds=1)


def _write(row: Subscription, facts: Facts) -> None:
    if row.trialed_at is None and facts.trialed_at is not None:
        row.trialed_at = facts.trialed_at
        trials.remember(row, facts.trialed_at)
    if facts.customer_is_gone:
        row.stripe_customer = None
    if facts.is_live:
        row.stripe_subscription = facts.subscription
        row.status = STATUSES[facts.status]
        if facts.plan is not None:  # else it keeps the one it has, and the log says why
            row.plan = facts.plan
        row.anchor = facts.anchor or row.anchor
        row.past_due_since = facts.past_due_since
        row.trial_ends_at = facts.trial_ends_at
        row.paid_until = facts.paid_until
        row.cancels_at = facts.cancels_at
        row.next_plan = facts.next_plan
        row.stripe_schedule = facts.schedule
    elif not (row.status == Status.NONE and (row.plan or not facts.subscription)):
        # What has ended ends here too, unless staff have assigned a plan since.
        end(row)


def end(row: Subscription) -> None:
    """Leave the workspace with the site's default plan."""
    row.plan, row.status = "", Status.CANCELLED
    row.next_plan = row.stripe_schedule = ""
    row.stripe_subscription = None
    row.past_due_since = row.trial_ends_at = row.paid_until = row.cancels_at = None


def _grant(row: Subscription, facts: Facts) -> None:
    known = set(Grant.objects.filter(key__in=[bought.key for bought in facts.purchases]).values_list("key", flat=True))
    for bought in facts.purchases:
        if bought.key in known:
            continue
        grant(
            workspace=row.workspace,
            meter=bought.meter,
            amount=bought.amount,
            source=Grant.Source.TOP_UP,
            reason=bought.name,
            key=bought.key,
            expires_at=bought.at + timedelta(days=bought.valid_days),
        )


def find_customers() -> int:
    """Give workspaces back the customers that are theirs at Stripe: a database that was restored may not know them."""
    count = 0
    for customer, code in stripe.customers():
        workspace = Workspace.objects.filter(code=code).first()
        if workspace is not None:
            row = subscriptions.subscription_of(workspace)
            rows = Subscription.objects.filter(pk=row.pk, stripe_customer=None)
            count += rows.update(stripe_customer=customer)
    return count


def sync_all() -> dict[str, int]:
    """Ask Stripe about every workspace that it knows; say how many were written and how many could not be asked for."""
    counts = {"found": find_customers(), "synced": 0, "failed": 0}
    for row in Subscription.objects.exclude(stripe_customer=None).order_by("pk").iterator():
        try:
            sync(row)
            counts["synced"] += 1
        except Refused as refusal:
            log.error("subscription of %s could not be synced: %s", row.workspace_id, refusal.message)
            counts["failed"] += 1
    return counts
