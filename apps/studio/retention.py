"""How long results and their sources are kept, and that their owner is told before they go.

A result expires some days after it was made, a source some days after it was used last and never before the last
result of it. Their rows stay, as the history of what was made. What somebody keeps does not expire.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Count, Exists, F, Min, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Greatest, Now
from django.urls import reverse
from django.utils import timezone

from apps.accounts.mail import expiry_letter
from apps.accounts.models import Role, User, Workspace
from apps.accounts.services import audit
from apps.errors import Refused
from apps.jobs.expiry import BATCH, ROUND_SECONDS
from apps.jobs.models import UNFINISHED, Artifact
from apps.studio.models import Conversion, Source

log = logging.getLogger(__name__)
WARNING = timedelta(days=7)
LETTER_EVERY = timedelta(hours=24)
SOURCE_GONE = "The file that this starts from has expired. Send it again as a new file."


def expiry_of(workspace: Workspace, *, since: datetime | None = None) -> datetime | None:
    """Return when what is made ``since`` (None: now) expires; None for never."""
    days = Workspace.objects.get(pk=workspace.pk).keeps_days  # as it is now, not as when the caller began
    return (since or timezone.now()) + timedelta(days=days) if days else None


def results() -> QuerySet[Artifact]:
    """Return the files that conversions made and that can still be had: results, and previews of their sources."""
    return Artifact.objects.filter(job__conversion__isnull=False, expired_at=None)


def going(now: datetime) -> QuerySet[Artifact]:
    """Return the results that expire within the time of a warning."""
    return results().filter(kind=Artifact.Kind.AUDIO, expires_at__gt=now, expires_at__lt=now + WARNING)


def use(source: Source) -> None:
    """Hold ``source`` until the caller's transaction ends and let its time begin anew. Raises Refused (410) when it
    has expired."""
    row = Source.objects.select_for_update().filter(pk=source.pk, expired_at=None).first()
    if row is None:
        raise Refused(SOURCE_GONE, status=410)
    Source.objects.filter(pk=row.pk).update(expires_at=expiry_of(row.workspace))


def keep(*, conversion: Conversion, user: User) -> None:
    """Keep a conversion's files for ever. Raises Refused: 409 when it has no result, 410 when that has expired."""
    with transaction.atomic():
        if not results().filter(job=conversion.job).update(expires_at=None):
            if conversion.expired_result is not None:
                raise Refused("The result has expired already; convert its source again.", status=410)
            raise Refused("There is no result to keep yet.", status=409)
        Conversion.objects.filter(pk=conversion.pk).update(kept_at=timezone.now())
        audit(workspace=conversion.workspace, user=user, action="conversion.kept", target=str(conversion))


def let_expire(*, conversion: Conversion, user: User) -> None:
    """Take back what ``keep`` did; nothing goes before somebody could be warned."""
    with transaction.atomic():
        Conversion.objects.filter(pk=conversion.pk).update(kept_at=None)
        _date(results().filter(job=conversion.job), conversion.workspace.keeps_days)
        audit(workspace=conversion.workspace, user=user, action="conversion.let_expire", target=str(conversion))


def apply_changes() -> int:
    """Date anew what is there in workspaces whose retention has changed, at most BATCH of them; say how many.

    Longer holds at once. Shorter lets nothing go before the time of a warning has passed.
    """
    now_valid = Coalesce("retention_days", Value(settings.RETENTION_DAYS))
    changed = Workspace.objects.annotate(valid=now_valid).exclude(retention_applied=F("valid"))
    rows = list(changed.values_list("pk", flat=True)[:BATCH])
    for pk in rows:
        with transaction.atomic():
            workspace = Workspace.objects.select_for_update(no_key=True).filter(pk=pk).first()
            if workspace is None:
                continue
            _date(results().filter(workspace=workspace, job__conversion__kept_at=None), workspace.keeps_days)
            _date(Source.objects.filter(workspace=workspace, expired_at=None), workspace.keeps_days)
            Workspace.objects.filter(pk=pk).update(retention_applied=workspace.keeps_days)
    return len(rows)


def _date(rows: QuerySet[Any], days: int) -> None:
    """Let ``rows`` expire ``days`` after they were made, but what would go sooner than now only after a warning."""
    if days == 0:
        rows.update(expires_at=None)
        return
    made = F("created_at") + timedelta(days=days)
    earliest = Greatest(made, Value(timezone.now() + WARNING))
    rows.filter(expires_at__lt=made).update(expires_at=made)
    rows.filter(Q(expires_at=None) | Q(expires_at__gt=earliest)).update(expires_at=earliest)


def expire_sources(seconds: float = ROUND_SECONDS) -> int:
    """Remove the files of sources whose time is over and that no result and no job needs, batch by batch for at most
    ``seconds``; say how many went. Cut short anywhere, the next round goes on.
    """
    until, gone, last = time.monotonic() + seconds, 0, 0
    due = Source.objects.filter(expires_at__lt=timezone.now()).exclude(file="").exclude(_is_needed()).order_by("pk")
    while batch := list(due.filter(pk__gt=last).values_list("pk", flat=True)[:BATCH]):
        for pk in batch:
            gone += _expire_source(pk)
            last = pk
            if time.monotonic() >= until:
                return gone
    return gone


def _is_needed() -> Exists:
    result = Artifact.objects.filter(job=OuterRef("job"), kind=Artifact.Kind.AUDIO, expired_at=None)
    works = Conversion.objects.filter(source=OuterRef("pk"))
    return Exists(works.filter(Q(job__status__in=UNFINISHED) | Exists(result)))


def _expire_source(pk: int) -> bool:
    with transaction.atomic():
        # Locked first and asked then: who starts from it meanwhile holds the same lock.
        source = Source.objects.select_for_update().filter(pk=pk, expires_at__lt=timezone.now()).first()
        if source is None or not source.file or Source.objects.filter(_is_needed(), pk=pk).exists():
            return False
        Source.objects.filter(pk=pk).update(expired_at=Coalesce("expired_at", Now()))
    try:
        default_storage.delete(str(source.file))
    except OSError:
        log.exception("an expired source could not be removed, the next round tries again: %s", source.file)
        return False
    if source.conversions.exists():
        Source.objects.filter(pk=pk).update(file="")
    else:
        source.delete()
    return True


def warn() -> int:
    """Write to the owners of workspaces in which something expires within the time of a warning; say how many letters.

    Each workspace gets one letter a day at most, and none that brings nothing new.
    """
    now = timezone.now()
    soon = going(now).filter(workspace=OuterRef("pk"))
    news = soon.filter(Q(expires_at__gt=OuterRef("warned_until")) | Q(workspace__warned_until=None))
    due = Workspace.objects.filter(Exists(news), deleted_at=None)
    due = due.filter(Q(warned_at=None) | Q(warned_at__lt=now - LETTER_EVERY))
    return sum(_warn(workspace, now) for workspace in due[:BATCH])


def _warn(workspace: Workspace, now: datetime) -> bool:
    # Claimed before it is sent, so that two sweeps do not both write; given back when it could not be sent.
    before = {"warned_at": workspace.warned_at, "warned_until": workspace.warned_until}
    claim = {"warned_at": now, "warned_until": now + WARNING}
    if not Workspace.objects.filter(pk=workspace.pk, **before).update(**claim):
        return False
    owner = workspace.memberships.select_related("user").get(role=Role.OWNER).user
    facts = {
        **going(now).filter(workspace=workspace).aggregate(count=Count("pk"), first=Min("expires_at")),
        "link": f"{settings.SITE_URL}{reverse('studio:convert', args=[workspace.slug])}?expiring=1",
    }
    if expiry_letter(workspace, owner, facts):
        return True
    Workspace.objects.filter(pk=workspace.pk, **claim).update(**before)
    return False
