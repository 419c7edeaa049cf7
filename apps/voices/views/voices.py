"""Pages of voices as such: the list, a new one, one voice, its name, its end."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.billing.errors import QuotaExceeded
from apps.errors import Refused
from apps.jobs.models import UNFINISHED
from apps.voices.forms import TrainForm, VoiceForm
from apps.voices.models import Consent, Recording, Take, Voice, VoiceModel
from apps.voices.services import direct, locks, training, voices
from apps.voices.views.lookup import page_of, voice_of
from apps.voices.views.models import preset_cards, training_costs


@require_safe
@member("viewer")
def index(request: WorkspaceRequest) -> HttpResponse:
    """The workspace's voices, or how to make the first."""
    context = {
        "workspace": request.workspace,
        "voices": _summaries(request),
        "locked": locks.locked_of(request.workspace),
    }
    return render(request, "voices/list.html", context)


def _summaries(request: WorkspaceRequest) -> QuerySet[Voice]:
    """Voices with all that their cards show, in one query."""
    takes = Take.objects.filter(recording__voice=OuterRef("pk"), usable=True, dropped=False).order_by()
    seconds = takes.values("recording__voice").annotate(total=Sum(F("end") - F("start"))).values("total")
    models = VoiceModel.objects.filter(voice=OuterRef("pk"))
    in_force = Q(withdrawn_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return request.workspace.voices.annotate(
        seconds=Subquery(seconds),
        recorded=Count("recordings"),
        has_consent=Exists(Consent.objects.filter(in_force, voice=OuterRef("pk"))),
        active_version=Subquery(models.filter(active=True).values("version")[:1]),
        is_training=Exists(models.filter(job__status__in=UNFINISHED)),
    )


@require_http_methods(["GET", "HEAD", "POST"])
@member("editor")
def new(request: WorkspaceRequest) -> HttpResponse:
    """Make a voice."""
    form = VoiceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            voice = voices.create_voice(workspace=request.workspace, user=request.user, **form.cleaned_data)
        except QuotaExceeded:
            raise  # nothing in the form is wrong
        except Refused as refused:
            form.add_error("name", refused.message)
        else:
            return redirect(page_of(voice))
    return _form_page(request, form, title="New voice", submit="Make this voice", back="")


@require_http_methods(["GET", "HEAD", "POST"])
@member("editor")
def edit(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Rename a voice."""
    row = voice_of(request, voice)
    initial = {"name": row.name, "description": row.description}
    form = VoiceForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            voices.rename_voice(voice=row, **form.cleaned_data)
        except Refused as refused:
            form.add_error("name", refused.message)
        else:
            return redirect(page_of(row))
    return _form_page(request, form, title=f"Rename {initial['name']}", submit="Save", back=page_of(row))


def _form_page(request: WorkspaceRequest, form: VoiceForm, *, title: str, submit: str, back: str) -> HttpResponse:
    context = {
        "workspace": request.workspace,
        "form": form,
        "title": title,
        "submit": submit,
        "cancel": back or reverse("voices:list", args=[request.workspace.slug]),
    }
    template = "_form.html" if request.htmx else "voices/form.html"
    return render(request, template, context, status=422 if form.errors else 200)


@require_safe
@member("viewer")
def detail(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """One voice: consent, recordings, pre-flight, training, models. To htmx only what a job that ended has changed."""
    row = voice_of(request, voice)
    shown = {"workspace": request.workspace, "voice": row, "is_locked": locks.is_locked(row)}
    if request.htmx and request.htmx.target == "models":
        return render(request, "voices/_models_changed.html", {**shown, "consent": row.consent, **_models(row)})
    return render(request, "voices/detail.html", {**shown, **_facts(request, row)})


def _facts(request: WorkspaceRequest, voice: Voice) -> dict[str, Any]:
    seconds = Sum(F("takes__end") - F("takes__start"), filter=Q(takes__usable=True, takes__dropped=False))
    recordings: QuerySet[Recording] = voice.recordings.select_related("job").annotate(
        take_count=Count("takes"), usable_seconds=seconds
    )
    report = training.preflight_of(voice)
    return {
        "consent": voice.consent,
        "past_consents": voice.consents.select_related("given_by"),
        "recordings": recordings,
        "chunk_bytes": settings.UPLOAD_CHUNK_BYTES,
        "direct": direct.is_offered(),
        "most_bytes": settings.UPLOAD_MAX_BYTES,
        "most_minutes": settings.UPLOAD_MAX_SECONDS // 60,
        "report": report,
        "train_form": TrainForm(),
        "presets": preset_cards(report.seconds),
        **training_costs(voice),
        **_models(voice),
    }


def _models(voice: Voice) -> dict[str, Any]:
    # Job cards read the workspace of their job, which is this voice's.
    models = list(voice.models.select_related("job").defer("curve", "resources"))
    for model in models:
        model.voice, model.job.workspace = voice, voice.workspace
    return {
        "models": models,
        "active": next((model for model in models if model.active), None),
        "is_training": any(not model.job.is_finished for model in models),
    }


@require_POST
@member("editor")
def choose(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Make a locked voice usable instead of another."""
    row = voice_of(request, voice)
    instead = locks.choose(voice=row, user=request.user)
    sentence = f"“{row.name}” can be used" + (f" now, and “{instead.name}” is locked instead." if instead else ".")
    messages.success(request, sentence)
    return redirect(page_of(row))


@require_GET
@member("viewer")
def preflight(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """The pre-flight report: a fragment to htmx, else a page of its own."""
    row = voice_of(request, voice)
    context = {"workspace": request.workspace, "voice": row, "report": training.preflight_of(row)}
    return render(request, "voices/_preflight.html" if request.htmx else "voices/preflight.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@member("admin")
def delete(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Delete a voice, after saying what goes with it."""
    row = voice_of(request, voice)
    if request.method == "POST":
        voices.delete_voice(voice=row, user=request.user)
        messages.success(request, f"“{row.name}” and everything made from it are deleted.")
        return redirect(reverse("voices:list", args=[request.workspace.slug]))
    counts = {
        "recordings": row.recordings.count(),
        "models": row.models.count(),
        "conversions": row.conversions.count(),
    }
    return render(request, "voices/delete.html", {"workspace": request.workspace, "voice": row, "counts": counts})
