"""Consent: its statement, given, heard, withdrawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.errors import Refused
from apps.jobs.downloads import serve
from apps.voices.forms import ConsentForm
from apps.voices.models import Consent, Voice
from apps.voices.services import consents
from apps.voices.views.lookup import page_of, voice_of


@require_http_methods(["GET", "HEAD", "POST"])
@member("editor")
def give(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Give consent. With ``?preview`` nothing is kept: the answer is the statement for what is filled in so far."""
    row = voice_of(request, voice)
    if request.method != "POST":
        return _page(request, row, ConsentForm(row))
    form = ConsentForm(row, request.POST, request.FILES)
    if "preview" in request.GET:
        statement = form.shown_statement()
        # The tick stays only while the words stay that it agreed to.
        agreed = "agreed" in request.POST and request.POST.get("statement") == statement
        return render(request, "voices/_statement.html", {"statement": statement, "agreed": agreed})
    if not form.is_valid():
        return _page(request, row, form)
    spoken = form.cleaned_data["spoken"]
    try:
        consents.give_consent(
            voice=row,
            user=request.user,
            terms=form.terms,
            spoken=Path(spoken.temporary_file_path()) if spoken else None,
        )
    except Refused as refused:
        form.add_error("spoken", refused.message)
        return _page(request, row, form)
    messages.success(request, f"Consent for “{row.name}” is kept.")
    return redirect(page_of(row) + "#consent")


def _page(request: WorkspaceRequest, voice: Voice, form: ConsentForm) -> HttpResponse:
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "voice": voice,
        "consent_form": form,
        "statement": form.shown_statement(),
    }
    template = "voices/_consent_form.html" if request.htmx else "voices/consent.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _consent_of(request: WorkspaceRequest, voice: UUID, code: UUID) -> Consent:
    owner = voice_of(request, voice)
    consent: Consent = get_object_or_404(owner.consents, code=code)
    consent.voice = owner
    return consent


@require_POST
@member("editor")
def withdraw(request: WorkspaceRequest, voice: UUID, consent: UUID) -> HttpResponse:
    """Withdraw a consent."""
    row = _consent_of(request, voice, consent)
    consents.withdraw_consent(consent=row, user=request.user)
    messages.success(request, "The consent is withdrawn. Nothing new is trained or made under it.")
    return redirect(page_of(row.voice) + "#consent")


@require_safe
@member("viewer")
def audio(request: WorkspaceRequest, voice: UUID, consent: UUID) -> HttpResponseBase:
    """The spoken statement."""
    row = _consent_of(request, voice, consent)
    if not row.recording:
        raise Http404
    name = f"Consent of {row.full_name}"
    return serve(request, row.recording, content_type=row.recording_type, name=name, attachment=False)
