"""Batches: many conversions started together. Each fails alone, and what could not be started is on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet

from apps.accounts.models import User, Workspace
from apps.errors import Refused
from apps.jobs.models import UNFINISHED, Job, Status
from apps.jobs.services import cancel
from apps.studio.models import Batch, Source
from apps.studio.services import submit_conversion
from apps.voices.models import Voice

ITEMS_MAX = 100


@transaction.atomic
def submit_batch(
    *,
    workspace: Workspace,
    user: User,
    name: str,
    pairs: Sequence[tuple[Source, Voice]],
    options: Mapping[str, Any],
    seed: int | None = None,
) -> Batch:
    """Submit the conversion of each source into its voice, with options and seed as ``submit_conversion`` takes them.

    A pair that is refused is written into ``refused`` and keeps no other from its turn. Raises Refused (422) for more
    than ITEMS_MAX pairs.
    """
    if len(pairs) > ITEMS_MAX:
        raise Refused(f"A batch has at most {ITEMS_MAX} conversions; this one would have {len(pairs)}.", status=422)
    batch = Batch.objects.create(workspace=workspace, name=name, created_by=user)
    for source, voice in pairs:
        try:
            with transaction.atomic():
                submit_conversion(
                    workspace=workspace, user=user, voice=voice, source=source, options=options, seed=seed, batch=batch
                )
        except Refused as no:
            item = {"source": str(source.code), "voice": str(voice.code)}
            batch.refused.append({**item, "status": no.status, "message": no.message})
    batch.save(update_fields=["refused"])
    return batch


def counted(workspace: Workspace) -> QuerySet[Batch]:
    """Return the workspace's batches, each with ``count_<status>``: how many of its jobs are there."""
    counts: dict[str, Any] = {
        f"count_{status}": Count("conversions", filter=Q(conversions__job__status=status)) for status in Status.values
    }
    return workspace.batches.annotate(**counts)


def cancel_batch(batch: Batch) -> int:
    """Stop all of the batch that has not ended; say how many those were."""
    jobs = Job.objects.filter(conversion__batch=batch, status__in=UNFINISHED)
    return sum(cancel(job) for job in jobs)
