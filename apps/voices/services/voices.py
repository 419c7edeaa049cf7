"""Voices as such: made, renamed, deleted with all that came of them."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.billing.services import holdings
from apps.errors import Refused
from apps.jobs.models import ENDED, UNFINISHED, Artifact, Job
from apps.jobs.services import cancel
from apps.voices.models import Take, Voice
from apps.voices.services.files import remove_on_commit


def create_voice(*, workspace: Workspace, user: User, name: str, description: str = "") -> Voice:
    """Return a new voice without consent, recordings or models.

    Raises Refused (409) when the name is taken, QuotaExceeded (402) when the plan allows no more voices.
    """
    voice = Voice(workspace=workspace, name=name.strip(), description=description.strip(), created_by=user)
    with transaction.atomic():
        holdings.require(workspace=workspace, meter="voices", count=workspace.voices.count)
        _save(voice)
    return voice


def rename_voice(*, voice: Voice, name: str, description: str) -> None:
    """Change what a voice is called. Raises Refused (409) when another voice has the name."""
    voice.name, voice.description = name.strip(), description.strip()
    _save(voice)


def _save(voice: Voice) -> None:
    try:
        with transaction.atomic():
            voice.save()
    except IntegrityError:
        raise Refused(f"There is a voice called “{voice.name}” already; choose another name.", status=409) from None


def delete_voice(*, voice: Voice, user: User) -> None:
    """Delete a voice for good: its jobs, consents, recordings, takes, models, works, and their files on commit."""
    for job in jobs_of(voice).filter(status__in=UNFINISHED):
        cancel(job)
    with transaction.atomic():
        Voice.objects.select_for_update().get(pk=voice.pk)
        jobs = list(jobs_of(voice).values_list("pk", flat=True))
        artifacts = Artifact.objects.filter(job__in=jobs)
        remove_on_commit([*_stored_files(voice), *artifacts.values_list("file", flat=True)])
        audit(workspace=voice.workspace, user=user, action="voice.deleted", target=voice.name)
        artifacts.delete()
        voice.delete()
        # A job that is still stopping is left to reach its end; it finds its rows gone and keeps nothing.
        Job.objects.filter(pk__in=jobs, status__in=ENDED).delete()


def jobs_of(voice: Voice) -> QuerySet[Job]:
    """Return every job that listened to, trained or used this voice."""
    made_for = Q(recording__voice=voice) | Q(voice_model__voice=voice) | Q(conversion__voice=voice)
    return Job.objects.filter(made_for)


def _stored_files(voice: Voice) -> Iterator[str]:
    yield from voice.recordings.values_list("file", flat=True)
    yield from Take.objects.filter(recording__voice=voice).values_list("file", flat=True)
    yield from voice.models.values_list("file", flat=True)
    yield from voice.consents.values_list("recording", flat=True)
    for parts in voice.uploads.values_list("parts", flat=True):
        yield from parts
