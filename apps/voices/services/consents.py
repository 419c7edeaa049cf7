"""Consent: given in exact words, withdrawn at any time; nothing is trained without it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.services import audit
from apps.errors import Refused
from apps.jobs.models import UNFINISHED
from apps.jobs.services import cancel
from apps.voices import statements
from apps.voices.media import content_type_of
from apps.voices.models import Consent, Voice, consent_path
from apps.voices.services.files import remove, store
from apps.voices.services.recordings import inspect
from apps.voices.services.voices import jobs_of


@dataclass(frozen=True)
class Terms:
    """What was chosen: who agrees, for which uses, until the end of which day (None: no end)."""

    full_name: str
    is_own_voice: bool
    speech: bool
    singing: bool
    commercial: bool
    expires_on: date | None


def statement_of(voice: Voice, terms: Terms) -> str:
    """Return the words that somebody who chose ``terms`` agrees to."""
    return statements.compose(voice=voice.name, workspace=voice.workspace.name, **asdict(terms))


def give_consent(*, voice: Voice, user: User, terms: Terms, spoken: Path | None = None) -> Consent:
    """Keep a consent in its exact words, with the spoken statement when there is one.

    ``spoken`` is an uploaded file, checked by its bytes. Raises Refused (422) when it is no usable sound or no use
    was chosen.
    """
    if not (terms.speech or terms.singing):
        raise Refused("Choose at least one use, speech or singing.", status=422)
    consent = Consent(
        voice=voice,
        statement=statement_of(voice, terms),
        full_name=terms.full_name,
        is_own_voice=terms.is_own_voice,
        speech=terms.speech,
        singing=terms.singing,
        commercial=terms.commercial,
        given_by=user,
        expires_at=_end_of(terms.expires_on) if terms.expires_on else None,
    )
    if spoken is not None:
        consent.recording_type = content_type_of(inspect(spoken).container)
        consent.recording.name = store(consent_path(consent, ""), spoken)
    try:
        with transaction.atomic():
            consent.save()
            audit(
                workspace=voice.workspace,
                user=user,
                action="consent.given",
                target=voice.name,
                data={"consent": str(consent.code), "full_name": consent.full_name, "statement": consent.statement},
            )
    except BaseException:
        remove([str(consent.recording)] if consent.recording else [])
        raise
    return consent


def withdraw_consent(*, consent: Consent, user: User) -> None:
    """End a consent now. Where none is left in force, unfinished work with the voice is stopped at once.

    Raises Refused (409) when it was withdrawn before.
    """
    voice = consent.voice
    with transaction.atomic():
        changed = Consent.objects.filter(pk=consent.pk, withdrawn_at=None).update(withdrawn_at=timezone.now())
        if not changed:
            raise Refused("This consent was withdrawn before; there is nothing left to do.", status=409)
        audit(
            workspace=voice.workspace,
            user=user,
            action="consent.withdrawn",
            target=voice.name,
            data={"consent": str(consent.code), "full_name": consent.full_name},
        )
    if voice.consent is None:
        for job in jobs_of(voice).filter(status__in=UNFINISHED, recording=None):
            cancel(job)


def require_consent(voice: Voice) -> Consent:
    """Return the consent in force. Raises Refused (403) when there is none."""
    consent = voice.consent
    if consent is None:
        raise Refused(
            f"There is no consent in force for “{voice.name}”; give consent on its page, then train.", status=403
        )
    return consent


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, tzinfo=UTC)
