"""Consents: the words, given, heard, withdrawn."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpResponseBase
from django.shortcuts import get_object_or_404
from ninja import File, Form, Query
from ninja.files import UploadedFile

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.forms import require_valid
from apps.api.limits import Route
from apps.api.paging import page_of
from apps.api.problems import Invalid
from apps.api.routes.recordings import temporary
from apps.api.routes.voices import voice_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.voices import Consent, NewConsent, Statement, Terms
from apps.jobs.downloads import serve
from apps.voices import models
from apps.voices.forms import ConsentForm
from apps.voices.services import consents

routes = Routes("consents")


def _rows(request: ApiRequest) -> QuerySet[models.Consent]:
    rows = models.Consent.objects.filter(voice__workspace=request.caller.workspace)
    return rows.select_related("voice__workspace")


@routes.read("/voices/{uuid:voice}/consents", Page[Consent])
def list_consents(request: ApiRequest, voice: UUID, paging: Query[Paging]) -> Page[Consent]:
    """A voice's consents, past ones too."""
    rows = _rows(request).filter(voice=voice_of(request, voice))
    return page_of(request, rows, paging, Page[Consent], Consent.of, order=("-given_at", "-code"))


@routes.write("POST", "/voices/{uuid:voice}/consents/statement", Statement)
def compose_statement(request: ApiRequest, voice: UUID, given: Terms) -> Statement:
    """The words of a consent with these terms."""
    form = ConsentForm(voice_of(request, voice), _data(given))
    shown = form.shown_statement()
    if not shown or "expires_on" in form.errors:
        wrong = next((field for field in form.errors if field != "agreed"), "full_name")
        raise Invalid(str(form.errors[wrong][0]), param=wrong)
    return Statement(statement=shown)


@routes.write(
    "POST",
    "/voices/{uuid:voice}/consents",
    Consent,
    status=201,
    cost=Route.DEAR,
)
def give_consent(
    request: ApiRequest,
    voice: UUID,
    given: Form[NewConsent],
    spoken: File[UploadedFile | None] = None,
) -> Consent:
    """Give consent, in the words of the statement, also spoken."""
    row = voice_of(request, voice)
    form: ConsentForm = require_valid(ConsentForm(row, _data(given)))
    path = temporary(spoken) if spoken is not None else None
    return Consent.of(consents.give_consent(voice=row, user=request.caller.user, terms=form.terms, spoken=path))


def _data(given: Terms) -> dict[str, Any]:
    return given.model_dump(mode="json", exclude_none=True)


@routes.read("/consents/{uuid:consent}", Consent)
def get_consent(request: ApiRequest, consent: UUID) -> Consent:
    """One consent."""
    return Consent.of(get_object_or_404(_rows(request), code=consent))


@routes.file("/consents/{uuid:consent}/audio")
def get_consent_audio(request: ApiRequest, consent: UUID) -> HttpResponseBase:
    """The statement as it was spoken."""
    row = get_object_or_404(_rows(request), code=consent)
    if not row.recording:
        raise Http404
    name = f"Consent of {row.full_name}"
    return serve(request, row.recording, content_type=row.recording_type, name=name, attachment=True)


@routes.write("POST", "/consents/{uuid:consent}/withdraw", Consent)
def withdraw_consent(request: ApiRequest, consent: UUID) -> Consent:
    """Withdraw a consent: nothing new is made under it."""
    row = get_object_or_404(_rows(request), code=consent)
    consents.withdraw_consent(consent=row, user=request.caller.user)
    row.refresh_from_db(fields=["withdrawn_at"])
    return Consent.of(row)
