"""Voices as such."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.shortcuts import get_object_or_404
from django.utils import timezone
from ninja import Query

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.forms import require_valid
from apps.api.paging import page_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.voices import NewVoice, Preflight, Voice, VoiceChange
from apps.voices.forms import VoiceForm
from apps.voices.models import Consent, Take, VoiceModel
from apps.voices.models import Voice as Row
from apps.voices.services import locks, training, voices

routes = Routes("voices")


def rows_of(request: ApiRequest) -> QuerySet[Row]:
    """Return the workspace's voices with all that is shown of them, in one query."""
    takes = Take.objects.filter(recording__voice=OuterRef("pk"), usable=True, dropped=False).order_by()
    seconds = takes.values("recording__voice").annotate(total=Sum(F("end") - F("start"))).values("total")
    in_force = Q(withdrawn_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    active = VoiceModel.objects.filter(voice=OuterRef("pk"), active=True)
    return request.caller.workspace.voices.annotate(
        seconds=Subquery(seconds),
        recorded=Count("recordings"),
        has_consent=Exists(Consent.objects.filter(in_force, voice=OuterRef("pk"))),
        active_code=Subquery(active.values("code")[:1]),
    )


def voice_of(request: ApiRequest, code: UUID) -> Row:
    """Return the workspace's voice, else 404."""
    workspace = request.caller.workspace
    row: Row = get_object_or_404(workspace.voices, code=code)
    row.workspace = workspace
    return row


def _shown(request: ApiRequest, code: UUID) -> Voice:
    row = get_object_or_404(rows_of(request), code=code)
    return Voice.of(row, locked=locks.locked_of(request.caller.workspace))


@routes.read("/voices", Page[Voice])
def list_voices(request: ApiRequest, paging: Query[Paging]) -> Page[Voice]:
    """The workspace's voices."""
    locked = locks.locked_of(request.caller.workspace)
    return page_of(request, rows_of(request), paging, Page[Voice], partial(Voice.of, locked=locked))


@routes.write("POST", "/voices", Voice, status=201)
def create_voice(request: ApiRequest, given: NewVoice) -> Voice:
    """Make a voice."""
    chosen = require_valid(VoiceForm(given.model_dump())).cleaned_data
    caller = request.caller
    row = voices.create_voice(workspace=caller.workspace, user=caller.user, **chosen)
    return _shown(request, row.code)


@routes.read("/voices/{uuid:voice}", Voice)
def get_voice(request: ApiRequest, voice: UUID) -> Voice:
    """One voice."""
    return _shown(request, voice)


@routes.write("PATCH", "/voices/{uuid:voice}", Voice)
def change_voice(request: ApiRequest, voice: UUID, given: VoiceChange) -> Voice:
    """Rename or describe a voice."""
    row = voice_of(request, voice)
    data: dict[str, Any] = {"name": row.name, "description": row.description, **given.model_dump(exclude_none=True)}
    voices.rename_voice(voice=row, **require_valid(VoiceForm(data)).cleaned_data)
    return _shown(request, voice)


@routes.write(
    "DELETE",
    "/voices/{uuid:voice}",
    None,
    role="admin",
    status=204,
)
def delete_voice(request: ApiRequest, voice: UUID) -> None:
    """Delete a voice with everything made from it."""
    voices.delete_voice(voice=voice_of(request, voice), user=request.caller.user)


@routes.write("POST", "/voices/{uuid:voice}/choose", Voice)
def choose_voice(request: ApiRequest, voice: UUID) -> Voice:
    """Keep a voice usable instead of another, where a smaller plan does not hold all of them."""
    locks.choose(voice=voice_of(request, voice), user=request.caller.user)
    return _shown(request, voice)


@routes.read("/voices/{uuid:voice}/preflight", Preflight)
def get_preflight(request: ApiRequest, voice: UUID) -> Preflight:
    """What a voice's takes promise before a training."""
    report = training.preflight_of(voice_of(request, voice))
    return Preflight(
        takes=report.takes,
        seconds=report.seconds,
        waiting=report.waiting,
        quality=report.figures.quality,
        strangers=[take.code for take in report.strangers],
        missing=report.figures.missing,
        rating=report.figures.rating,
        likeness=report.figures.likeness,
    )
