"""What members do with endpoints and deliveries, and how an event gets into the outbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.accounts import sealing
from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.errors import Refused
from apps.webhooks import addresses, catalog, signing
from apps.webhooks.models import PURPOSE, Delivery, Endpoint, Status

ENDPOINTS_MAX = 20
# After each failed attempt; the one after the last wait is the last.
RETRY_AFTER = (
    timedelta(seconds=10),
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=24),
)
OVERLAP = timedelta(hours=24)  # how long an earlier secret signs beside a new one
REPLAYED_AT_ONCE = 1000
TESTS_WAITING = 10  # of one endpoint
KEPT_FOR = timedelta(days=30)
REMOVED_AT_ONCE, REMOVED_IN_A_ROUND = 500, 20_000


def announce(*, workspace_pk: int, event: str, data: Callable[[], dict[str, Any]]) -> int:
    """Put an event into the outbox of every endpoint that wants it; say how many those are.

    Called in the transaction that makes the event true: the rows are there if and only if that is committed. ``data``
    is asked only when somebody wants it; it returns what JSON can carry, times and UUIDs included.
    """
    living = Endpoint.objects.filter(workspace_id=workspace_pk, workspace__deleted_at=None, enabled=True)
    wanting = [endpoint for endpoint in living if endpoint.wants(event)]
    if not wanting:
        return 0
    now = timezone.now()
    body = body_of(event, at=now, data=data())
    Delivery.objects.bulk_create(
        [Delivery(endpoint=endpoint, event=event, body=body, next_attempt_at=now) for endpoint in wanting]
    )
    return len(wanting)


def body_of(event: str, *, at: datetime, data: dict[str, Any]) -> str:
    """Return the JSON text of an event, as it is signed and sent."""
    whole = {"type": event, "timestamp": at, "data": data}
    return json.dumps(whole, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))


def create_endpoint(*, workspace: Workspace, user: User, url: str, description: str, events: list[str]) -> Endpoint:
    """Add an endpoint with a secret of its own. Raises Refused for an address that may not be called, or too many."""
    addresses.look_up(addresses.read(url))
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=workspace.pk)  # two at once must not pass the limit together
        if workspace.webhook_endpoints.count() >= ENDPOINTS_MAX:
            raise Refused(f"This workspace has {ENDPOINTS_MAX} endpoints. Delete one first.", status=409)
        endpoint = Endpoint.objects.create(
            workspace=workspace,
            url=url.strip(),
            description=description,
            events=_known(events),
            sealed_secret=sealing.seal(signing.new_secret(), purpose=PURPOSE),
            created_by=user,
        )
        _audit(endpoint, user, "created", {"events": endpoint.events})
    return endpoint


def change_endpoint(*, endpoint: Endpoint, user: User, url: str, description: str, events: list[str]) -> None:
    """Change where and what is sent; the secret stays. Raises Refused for an address that may not be called."""
    addresses.look_up(addresses.read(url))
    before = {"url": endpoint.url, "events": endpoint.events}
    endpoint.url, endpoint.description, endpoint.events = url.strip(), description, _known(events)
    with transaction.atomic():
        endpoint.save(update_fields=["url", "description", "events"])
        _audit(endpoint, user, "changed", {"before": before, "events": endpoint.events})


def enable(*, endpoint: Endpoint, user: User) -> None:
    """Send again; what waits is due at once."""
    with transaction.atomic():
        off = Endpoint.objects.filter(pk=endpoint.pk, enabled=False)
        if off.update(enabled=True, disabled_reason="", failing_since=None):
            _audit(endpoint, user, "enabled")


def disable(*, endpoint: Endpoint, user: User | None, reason: str = "") -> bool:
    """Send nothing more: new events are not kept for it, and what waits goes on waiting. Say whether this call did."""
    with transaction.atomic():
        on = Endpoint.objects.filter(pk=endpoint.pk, enabled=True)
        changed = on.update(enabled=False, disabled_reason=reason[:300])
        if changed:
            _audit(endpoint, user, "disabled", {"reason": reason} if reason else {})
    return bool(changed)


def delete_endpoint(*, endpoint: Endpoint, user: User) -> None:
    """Remove the endpoint with its log; what waits is never sent."""
    with transaction.atomic():
        _audit(endpoint, user, "deleted")
        endpoint.delete()


def show_secret(*, endpoint: Endpoint, user: User) -> list[str]:
    """Return the secrets in force, the newest first; that they were looked at is on record."""
    _audit(endpoint, user, "secret_shown")
    return endpoint.secrets_in_force()


def rotate_secret(*, endpoint: Endpoint, user: User) -> None:
    """Give the endpoint a new secret; for a day the earlier one signs too, so that a receiver can change in peace."""
    with transaction.atomic():
        row = Endpoint.objects.select_for_update().get(pk=endpoint.pk)
        row.sealed_previous_secret = row.sealed_secret
        row.previous_secret_until = timezone.now() + OVERLAP
        row.sealed_secret = sealing.seal(signing.new_secret(), purpose=PURPOSE)
        row.save(update_fields=["sealed_secret", "sealed_previous_secret", "previous_secret_until"])
        _audit(endpoint, user, "secret_rotated")


def send_test(*, endpoint: Endpoint, user: User) -> Delivery:
    """Put a test event into the outbox. It is tried once: who presses the button looks at what comes of it."""
    if not endpoint.enabled:
        raise Refused("Switch the endpoint on first.", status=409)
    if endpoint.deliveries.filter(event=catalog.TEST, status=Status.WAITING).count() >= TESTS_WAITING:
        raise Refused(f"{TESTS_WAITING} test events wait to be sent; see what comes of them first.", status=429)
    now = timezone.now()
    data = {"endpoint": endpoint.code, "message": "If you can read this, the endpoint works."}
    with transaction.atomic():
        delivery = Delivery.objects.create(
            endpoint=endpoint,
            event=catalog.TEST,
            body=body_of(catalog.TEST, at=now, data=data),
            retries=len(RETRY_AFTER),
            next_attempt_at=now,
        )
        _audit(endpoint, user, "tested")
    return delivery


def replay(*, delivery: Delivery, user: User) -> None:
    """Send one event again, at once, with the same id and body; the schedule of retries starts anew."""
    if not delivery.endpoint.enabled:
        raise Refused("Switch the endpoint on first.", status=409)
    with transaction.atomic():
        _send_again(Q(pk=delivery.pk))
        _audit(delivery.endpoint, user, "replayed", {"delivery": str(delivery.code)})


def replay_failed(*, endpoint: Endpoint, user: User, since: datetime) -> int:
    """Send again what failed for good since then, the oldest first, at most ``REPLAYED_AT_ONCE``; say how many."""
    if not endpoint.enabled:
        raise Refused("Switch the endpoint on first.", status=409)
    failed = endpoint.deliveries.filter(status=Status.FAILED, ended_at__gte=since).exclude(event=catalog.TEST)
    failed = failed.order_by("created_at", "pk")
    with transaction.atomic():
        count = _send_again(Q(pk__in=list(failed.values_list("pk", flat=True)[:REPLAYED_AT_ONCE])))
        _audit(endpoint, user, "replayed", {"since": since.isoformat(), "count": count})
    return count


def _send_again(which: Q) -> int:
    """Make ended deliveries due; one that waits is only made due sooner, as somebody may be sending it."""
    now = timezone.now()
    Delivery.objects.filter(which, status=Status.WAITING).update(next_attempt_at=now)
    ended = Delivery.objects.filter(which, ~Q(status=Status.WAITING))
    again = {"status": Status.WAITING, "next_attempt_at": now, "claimed_until": None, "ended_at": None}
    tests = ended.filter(event=catalog.TEST).update(retries=len(RETRY_AFTER), **again)  # once, as ever
    return tests + ended.exclude(event=catalog.TEST).update(retries=0, **again)


def tidy() -> int:
    """Remove deliveries older than ``KEPT_FOR`` in small batches, a bounded number a round; say how many."""
    old = Delivery.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).order_by("created_at")
    removed = 0
    while removed < REMOVED_IN_A_ROUND:
        batch = list(old.values_list("pk", flat=True)[:REMOVED_AT_ONCE])
        if not batch:
            break
        Delivery.objects.filter(pk__in=batch).delete()
        removed += len(batch)
    return removed


def _known(events: list[str]) -> list[str]:
    """Return the chosen events in the catalog's order. Raises Refused for one that is not in it."""
    if unknown := set(events) - set(catalog.EVENTS):
        raise Refused(f"There is no event {sorted(unknown)[0]}. Choose from the list.", status=422)
    return [name for name in catalog.EVENTS if name in events]


def _audit(endpoint: Endpoint, user: User | None, verb: str, data: dict[str, Any] | None = None) -> None:
    audit(workspace=endpoint.workspace, user=user, action=f"webhook.{verb}", target=endpoint.url, data=data)
