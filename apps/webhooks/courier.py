"""Empties the outbox. Any number of couriers may run: each claims what it sends by a conditional update.

The sending is done in threads, which touch no row; all rows are written by the courier's own thread.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import Error as DatabaseError
from django.db import close_old_connections, transaction
from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from apps.webhooks import letters, sending, services, signing
from apps.webhooks.catalog import TEST
from apps.webhooks.models import Attempt, Delivery, Endpoint, Status
from apps.webhooks.sending import GONE, Outcome

log = logging.getLogger(__name__)
# So many requests at once, of one courier; and of one endpoint and one workspace, of all couriers together: receivers
# that never answer hold these few and no more, and the rest stays free for the others.
AT_ONCE, OF_AN_ENDPOINT, OF_A_WORKSPACE = 32, 2, 4
# Longer than a request can take: whose claim runs out before its outcome is written has died, and another sends.
CLAIMED_FOR = timedelta(seconds=3 * sending.TOTAL_SECONDS)
LOOK_EVERY_SECONDS = 0.5
GRACE_SECONDS = 3.0
GIVEN_UP_AFTER = timedelta(days=5)
USER_AGENT = "voicecloud-webhooks"  # not the site's own name, which a header may be unable to carry


@dataclass(frozen=True)
class Sent:
    """One attempt that is over: what was claimed, how it was signed, what came of it."""

    delivery: Delivery
    timestamp: int  # Unix seconds
    signature: str
    outcome: Outcome


def claim(*, room: int) -> list[Delivery]:
    """Make at most ``room`` due deliveries this courier's, fairly: the endpoint that waits longest comes first.

    Those that have failed of late come after all others, and hold half of the room at most, however many they are.
    """
    now = timezone.now()
    busy_endpoints, busy_workspaces, failing_busy = _under_way()
    taken: list[int] = []
    due = _due()
    columns = ("endpoint_id", "endpoint__workspace_id", "endpoint__failing_since")
    waiting = due.values_list(*columns).annotate(first=Min("next_attempt_at"))
    for endpoint_pk, workspace_pk, failing, _ in sorted(waiting, key=lambda row: (row[2] is not None, row[3])):
        free = min(
            room - len(taken),
            OF_AN_ENDPOINT - busy_endpoints[endpoint_pk],
            OF_A_WORKSPACE - busy_workspaces[workspace_pk],
            AT_ONCE // 2 - failing_busy if failing else AT_ONCE,
        )
        if free <= 0:
            continue
        oldest = due.filter(endpoint_id=endpoint_pk).order_by("next_attempt_at", "pk").values_list("pk", "attempts")
        for pk, attempts in oldest[:free]:
            # The count of attempts is what makes this safe: who comes second finds another one there.
            mine = Delivery.objects.filter(pk=pk, status=Status.WAITING, attempts=attempts)
            if mine.update(attempts=attempts + 1, claimed_until=now + CLAIMED_FOR):
                taken.append(pk)
                busy_endpoints[endpoint_pk] += 1
                busy_workspaces[workspace_pk] += 1
                failing_busy += failing is not None
    return list(Delivery.objects.select_related("endpoint__workspace").filter(pk__in=taken))


def _due() -> QuerySet[Delivery]:
    now = timezone.now()
    rows = Delivery.objects.filter(status=Status.WAITING, next_attempt_at__lte=now)
    rows = rows.filter(Q(claimed_until=None) | Q(claimed_until__lte=now))
    return rows.filter(endpoint__enabled=True, endpoint__workspace__deleted_at=None)


def _under_way() -> tuple[Counter[int], Counter[int], int]:
    """Return how many deliveries are being sent now: of each endpoint, of each workspace, of all that fail of late."""
    claimed = Delivery.objects.filter(status=Status.WAITING, claimed_until__gt=timezone.now())
    rows = list(claimed.values_list("endpoint_id", "endpoint__workspace_id", "endpoint__failing_since"))
    return Counter(row[0] for row in rows), Counter(row[1] for row in rows), sum(row[2] is not None for row in rows)


def release(delivery: Delivery) -> None:
    """Give a claimed delivery back, for another courier to send at once."""
    Delivery.objects.filter(pk=delivery.pk, attempts=delivery.attempts).update(claimed_until=None)


def attempt(delivery: Delivery) -> Sent:
    """Sign a claimed delivery and send it. Touches no row and raises nothing, so that a thread can do it."""
    body, message, timestamp = delivery.body.encode(), str(delivery.code), int(time.time())
    headers = {"content-type": "application/json", "user-agent": USER_AGENT}
    try:
        secrets = delivery.endpoint.secrets_in_force()
        headers |= signing.headers(secrets, message=message, timestamp=timestamp, body=body)
        outcome = sending.post(delivery.endpoint.url, body=body, headers=headers)
    except Exception:  # the door of the thread: whatever comes is our fault, and must not leave the row claimed
        error_id = uuid.uuid4().hex
        log.exception("delivery %s: error %s", delivery.code, error_id, extra={"error_id": error_id})
        outcome = Outcome(None, f"Something went wrong on our side (error {error_id}).", "", 0)
    return Sent(delivery, timestamp, headers.get("webhook-signature", ""), outcome)


def record(sent: Sent) -> bool:
    """Write what came of an attempt; False when the delivery is not this attempt's any more, so nothing is written."""
    delivery, outcome, now = sent.delivery, sent.outcome, timezone.now()
    over = outcome.status_code == GONE or delivery.retries >= len(services.RETRY_AFTER)
    mine = Delivery.objects.filter(pk=delivery.pk, status=Status.WAITING, attempts=delivery.attempts)
    with transaction.atomic():
        if not outcome.error or over:
            status = Status.FAILED if outcome.error else Status.DELIVERED
            moved = mine.update(status=status, next_attempt_at=None, claimed_until=None, ended_at=now)
        else:
            wait = services.RETRY_AFTER[delivery.retries]
            moved = mine.update(next_attempt_at=now + wait, retries=delivery.retries + 1, claimed_until=None)
        if not moved:
            return False
        Attempt.objects.create(
            delivery=delivery,
            number=delivery.attempts,
            sent_at=datetime.fromtimestamp(sent.timestamp, tz=UTC),
            signature=sent.signature,
            duration_ms=outcome.duration_ms,
            status_code=outcome.status_code,
            error=outcome.error,
            answer=outcome.answer,
        )
        _judge(delivery, outcome, over=over)
    return True


def _judge(delivery: Delivery, outcome: Outcome, *, over: bool) -> None:
    """Remember since when the endpoint fails; switch it off when that is too long, or when it asks for that."""
    now, endpoint = timezone.now(), delivery.endpoint
    row = Endpoint.objects.filter(pk=endpoint.pk)
    if not outcome.error:
        row.exclude(failing_since=None).update(failing_since=None)
        return
    row.filter(failing_since=None).update(failing_since=now)
    if outcome.status_code == GONE:
        reason = outcome.error
    elif over and delivery.event != TEST and row.filter(failing_since__lte=now - GIVEN_UP_AFTER).exists():
        reason = f"Nothing could be delivered for {GIVEN_UP_AFTER.days} days. The last time: {outcome.error}"
    else:
        return
    if services.disable(endpoint=endpoint, user=None, reason=reason):
        log.warning("endpoint %s is switched off: %s", endpoint.code, reason)
        transaction.on_commit(lambda: letters.tell(endpoint, reason))


class Courier:
    """Sends what is due until told to stop."""

    def __init__(self) -> None:
        self.stopping = False
        self._over: queue.SimpleQueue[Sent] = queue.SimpleQueue()
        self._under_way: dict[tuple[int, int], Delivery] = {}

    def run(self) -> None:
        """Work until ``stopping``; then give what is under way a few seconds, and the rest back to others."""
        while not self.stopping:
            try:
                self._start()
                self._collect(LOOK_EVERY_SECONDS)
            except DatabaseError:
                log.exception("the outbox cannot be reached; it is asked again")
                time.sleep(LOOK_EVERY_SECONDS)
            close_old_connections()
        try:
            self._end()
        except DatabaseError:
            log.exception("the outbox cannot be reached; what is under way is sent again once its claims run out")

    def _end(self) -> None:
        limit = time.monotonic() + GRACE_SECONDS
        while self._under_way and (left := limit - time.monotonic()) > 0:
            self._collect(left)
        for delivery in self._under_way.values():
            release(delivery)

    def run_until_empty(self) -> None:
        """Send all that is due now, and wait for it."""
        while self._start() or self._under_way:
            self._collect(LOOK_EVERY_SECONDS)

    def _start(self) -> int:
        """Begin with what is due, as far as there is room; say with how many."""
        room = AT_ONCE - len(self._under_way)
        claimed = claim(room=room) if room > 0 else []
        for delivery in claimed:
            self._under_way[delivery.pk, delivery.attempts] = delivery
            # A daemon: a process that is told to stop waits for no receiver.
            threading.Thread(target=self._send, args=(delivery,), daemon=True).start()
        return len(claimed)

    def _send(self, delivery: Delivery) -> None:
        self._over.put(attempt(delivery))

    def _collect(self, seconds: float) -> None:
        """Wait at most ``seconds`` for an attempt to end, then write all that have."""
        with suppress(queue.Empty):
            sent = self._over.get(timeout=seconds)
            while True:
                delivery, error = sent.delivery, sent.outcome.error
                # Off the list first: if its row cannot be written, the claim runs out and it is sent once more.
                del self._under_way[delivery.pk, delivery.attempts]
                if record(sent) and error:
                    log.info("delivery %s, attempt %s: %s", delivery.code, delivery.attempts, error)
                sent = self._over.get_nowait()
