"""Work on voices that failed or was stopped, run again under the rules that hold now, not those of its first start."""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import User
from apps.errors import Refused
from apps.jobs.models import Job
from apps.jobs.services import requeue
from apps.voices.models import Recording, Voice, VoiceModel
from apps.voices.services.consents import require_consent
from apps.voices.services.locks import require_unlocked
from apps.voices.services.training import require_takes

GONE = "What this job was to make was deleted; start it anew."


def train_again(*, job: Job, user: User) -> bool:
    """Run a training, or the making of an instant voice, again; False unless it failed or was cancelled.

    Raises Refused: 402 for a locked voice, 403 without a consent in force, 409 with too few of its takes left or when
    the model was deleted; QuotaExceeded (402).
    """
    with transaction.atomic():
        model = VoiceModel.objects.filter(job=job).first()
        if model is None:
            raise Refused(GONE, status=409)
        voice = _held(model.voice_id)
        require_unlocked(voice)
        require_consent(voice)
        require_takes(model)
        return requeue(job, user=user)


def slice_again(*, job: Job, user: User) -> bool:
    """Listen to a recording again; False unless that failed or was cancelled.

    Raises Refused: 402 for a locked voice, 409 when the recording was deleted.
    """
    with transaction.atomic():
        recording = Recording.objects.filter(job=job).first()
        if recording is None:
            raise Refused(GONE, status=409)
        require_unlocked(_held(recording.voice_id))
        return requeue(job, user=user)


def _held(voice_pk: int) -> Voice:
    """Return the voice, locked as a training locks it: before the subscription."""
    rows = Voice.objects.select_for_update(no_key=True, of=("self",))
    return rows.select_related("workspace").get(pk=voice_pk)
