"""What a worker does for billing: plain calls of its queue, no jobs of a workspace."""

from __future__ import annotations

from apps.billing.services import webhook


def handle(event_pk: int) -> None:
    """Bring up to date what one of Stripe's events is about."""
    webhook.handle(event_pk)
