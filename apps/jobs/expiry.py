"""Files that a job made go when their time is over; their rows stay, as the history of what was made.

The row is marked first, from when on nobody is served the file and nobody can keep it; then the file goes, then its
name. Cut short anywhere, the next round finds a marked row that still names a file, and goes on there.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime

from django.core.files.storage import default_storage
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from apps.jobs.models import Artifact

log = logging.getLogger(__name__)
BATCH = 200
ROUND_SECONDS = 30.0


def expire(seconds: float = ROUND_SECONDS) -> int:
    """Remove the files of artifacts past their expiry, batch by batch for at most ``seconds``; say how many went."""
    until, now, gone, last = time.monotonic() + seconds, timezone.now(), 0, 0
    due = Artifact.objects.filter(expires_at__lt=now).exclude(file="").order_by("pk")
    while batch := list(due.filter(pk__gt=last).values_list("pk", "file")[:BATCH]):
        for pk, name in batch:
            gone += _remove(pk, name, now)
            last = pk
            if time.monotonic() >= until:
                return gone
    return gone


def _remove(pk: int, name: str, now: datetime) -> bool:
    # Asked again with the move itself: somebody may have decided to keep it.
    still = Artifact.objects.filter(pk=pk, file=name, expires_at__lt=now)
    if not still.update(expired_at=Coalesce("expired_at", Now())):
        return False
    try:
        default_storage.delete(name)
    except OSError:
        log.exception("an expired file could not be removed, the next round tries again: %s", name)
        return False
    return bool(Artifact.objects.filter(pk=pk, file=name).update(file=""))
