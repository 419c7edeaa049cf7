"""Any work that failed or was stopped, run again: only where its plan, its consent and its source still allow it."""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import User
from apps.billing.services.subscriptions import locked
from apps.errors import Refused
from apps.jobs.models import Job
from apps.jobs.services import requeue
from apps.studio import retention
from apps.studio.models import Conversion
from apps.studio.services import require_consent, require_format
from apps.voices.services.again import GONE, slice_again, train_again
from apps.voices.services.locks import require_unlocked


def run_again(*, job: Job, user: User) -> None:
    """Run a failed or cancelled job again, for ``user``.

    Raises Refused as the service that starts such work does, and 409 for a job that stands otherwise, whose work was
    deleted, or of a kind that is started anew instead.
    """
    services = {
        "conversion": convert_again,
        "training": train_again,
        "instant voice": train_again,
        "slicing": slice_again,
    }
    if job.kind not in services:
        raise Refused("A job of this kind cannot be run again; start it anew.", status=409)
    if not services[job.kind](job=job, user=user):
        raise Refused("Only a job that has failed or was cancelled can be run again.", status=409)


def convert_again(*, job: Job, user: User) -> bool:
    """Run a conversion again; False unless it failed or was cancelled.

    Raises Refused: 402 for a locked voice or a format that the plan does not make, 403 without a consent in force, 409
    when it or its model was deleted, 410 when its source has expired; QuotaExceeded (402).
    """
    with transaction.atomic():
        # The job, the subscription, the source: as those lock them who end a job or start a batch.
        Job.objects.select_for_update(no_key=True).get(pk=job.pk)
        locked(job.workspace)
        rows = Conversion.objects.select_related("workspace", "voice__workspace", "source", "model")
        conversion = rows.filter(job=job).first()
        if conversion is None:
            raise Refused(GONE, status=409)
        require_format(conversion.workspace, conversion.options)
        require_unlocked(conversion.voice)
        require_consent(conversion.voice)
        retention.use(conversion.source)
        if conversion.model is None:
            raise Refused("The model that this was to be made with was deleted; convert its source anew.", status=409)
        return requeue(job, user=user)
