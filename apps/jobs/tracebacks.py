"""Where a fault of ours was raised, kept a month for staff to read beside the job."""

from __future__ import annotations

import logging
import traceback
from datetime import timedelta

from django.db import Error as DatabaseError
from django.db import transaction
from django.utils import timezone

from apps.jobs.models import Fault, Job

log = logging.getLogger(__name__)
KEPT = timedelta(days=30)
LONGEST = 20_000  # characters; the end of it says most
AT_ONCE = 1000


def keep(job: Job, error: BaseException, *, error_id: str) -> None:
    """Keep where ``error`` was raised. It may be the database itself that is away: then the log alone has it."""
    text = "".join(traceback.format_exception(error))[-LONGEST:].replace("\0", "")
    try:
        with transaction.atomic():
            name = type(error).__name__[:100]
            Fault.objects.create(job=job, attempt=job.attempt, error_id=error_id, name=name, traceback=text)
    except DatabaseError:
        log.warning("job %s: the traceback of error %s could not be kept", job.code, error_id, exc_info=True)


def expire() -> int:
    """Remove those older than a month, at most a thousand at a time; say how many."""
    old = Fault.objects.filter(created_at__lt=timezone.now() - KEPT).values_list("pk", flat=True)[:AT_ONCE]
    return Fault.objects.filter(pk__in=list(old)).delete()[0]
