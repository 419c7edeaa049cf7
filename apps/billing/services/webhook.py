"""Events that Stripe tells of: stored once each, then handled by a worker. Only triggers, in any order, any number of
times: what they are about is fetched again.
"""

from __future__ import annotations

import logging
from datetime import timedelta

import django_rq
from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from redis.exceptions import RedisError

from apps.billing import stripe
from apps.billing.models import StripeEvent, Subscription
from apps.billing.services.sync import sync
from apps.errors import Refused

log = logging.getLogger(__name__)
HANDLE = "apps.billing.tasks.handle"
HANDLE_SECONDS = 180
# The kinds after which a subscription or what was bought may stand otherwise; docs/operations.md has the same list.
KINDS = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "invoice.paid",
    "invoice.payment_failed",
    "subscription_schedule.updated",
    "subscription_schedule.released",
    "subscription_schedule.canceled",
)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(hours=1)
AT_ONCE = 500  # events that one sweep has handled
KEPT_FOR = timedelta(days=90)


def take(body: bytes, signature: str) -> bool:
    """Store a signed event and have it handled; False for one that is here already. Raises Refused (400) for others."""
    told = stripe.event_of(body, signature)
    with transaction.atomic():
        row, is_new = StripeEvent.objects.get_or_create(
            event=told.event[:100],
            defaults={"type": told.type[:100], "about": told.about[:100], "customer": told.customer[:100]},
        )
        if is_new:
            transaction.on_commit(lambda: call(row.pk))
    return is_new


def call(event_pk: int) -> None:
    """Have a worker handle an event. While Redis is away nothing is lost: ``sweep`` calls again."""
    tries = StripeEvent.objects.filter(pk=event_pk)
    if settings.JOBS_INLINE:
        tries.update(tries=F("tries") + 1)
        handle(event_pk)
        return
    try:
        queue = django_rq.get_queue("default", commit_mode="auto")
        queue.enqueue_call(func=HANDLE, args=(event_pk,), timeout=HANDLE_SECONDS, result_ttl=0, failure_ttl=3600)
    except (RedisError, OSError):
        log.exception("the queue cannot be reached; event %s will be handled later", event_pk)
        return
    # Counted here, not by the worker: while none comes, the queue does not fill with the same call again and again.
    tries.update(tries=F("tries") + 1)


def handle(event_pk: int) -> bool:
    """Bring the subscription of an event up to date; say whether it is handled now. Again does no harm."""
    row = StripeEvent.objects.filter(pk=event_pk, handled_at=None).first()
    if row is None:
        return True
    subscription = Subscription.objects.filter(stripe_customer=row.customer).first() if row.customer else None
    if subscription is not None and row.type in KINDS:
        try:
            sync(subscription)
        except Refused as refusal:
            StripeEvent.objects.filter(pk=row.pk).update(error=refusal.message[:300])
            return False
    StripeEvent.objects.filter(pk=row.pk).update(handled_at=timezone.now(), error="")
    return True


def sweep() -> int:
    """Have events handled whose handling failed or was lost, the oldest first, each after a growing pause; say
    how many. At most AT_ONCE: those that are not due yet take nobody's place.
    """
    now, count = timezone.now(), 0
    waiting = StripeEvent.objects.filter(handled_at=None, received_at__lt=now - FIRST_WAIT)
    for row in waiting.order_by("received_at", "pk").only("received_at", "tries"):
        # One that was handled at once is tried after 30 s, 1 min, 2 min ... of its age, then every hour.
        wait = min(FIRST_WAIT * 2 ** min(row.tries, 20), LONGEST_WAIT * max(1, row.tries - 6))
        if now - row.received_at >= wait:
            call(row.pk)
            count += 1
            if count >= AT_ONCE:
                break
    return count


def tidy() -> int:
    """Forget events that were handled long ago; say how many."""
    return StripeEvent.objects.filter(handled_at__lt=timezone.now() - KEPT_FOR).delete()[0]
