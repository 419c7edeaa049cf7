"""Recordings and their takes: added, heard, dropped, deleted."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe
from django_htmx.http import trigger_client_event

from apps.accounts.access import WorkspaceRequest, member
from apps.errors import Refused
from apps.jobs.downloads import serve
from apps.voices.models import Recording
from apps.voices.scripts import SENTENCES
from apps.voices.services import recordings
from apps.voices.services.locks import require_unlocked
from apps.voices.services.recordings import Fate
from apps.voices.views.lookup import page_of, recording_of, take_of, voice_of

_LONGEST_SCRIPT = 10_000
_LONGEST_SECONDS = 600  # of one recording in the page, which is in the browser's memory until it is kept


@require_POST
@member("editor")
def add(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Take in one or many files of a plain form, or a recording of this page; each has its own fate.

    Answers 201 when all were taken, 207 when some were; when none was, the one file's own status or 422 for several.
    """
    row = voice_of(request, voice)
    files = request.FILES.getlist("files")
    if not files:
        raise Refused("Choose at least one audio file, then send again.", status=422)
    script = request.POST.get("script", "")[:_LONGEST_SCRIPT]
    fates = [
        recordings.receive(
            voice=row,
            user=request.user,
            path=Path(file.temporary_file_path()),  # type: ignore[attr-defined]  # all uploads are streamed to disk
            name=file.name or "",
            script=script,
        )
        for file in files
    ]
    return _answer(request, row.code, fates)


def _answer(request: WorkspaceRequest, voice: UUID, fates: list[Fate]) -> HttpResponse:
    status = status_of(fates)
    row = voice_of(request, voice)
    if "application/json" in request.headers.get("Accept", ""):
        files = [
            {
                "name": fate.name,
                "status": fate.status,
                "message": fate.message,
                "url": recording_url(fate.recording) if fate.recording else "",
            }
            for fate in fates
        ]
        return JsonResponse({"files": files}, status=status)
    if status == 201 and not request.htmx:
        messages.success(request, f"{len(fates)} recording{'s' if len(fates) > 1 else ''} added.")
        return redirect(page_of(row) + "#recordings")
    context = {"workspace": request.workspace, "voice": row, "fates": fates}
    return render(request, "voices/_fates.html" if request.htmx else "voices/received.html", context, status=status)


def status_of(fates: list[Fate]) -> int:
    """Return the status of an answer about several files."""
    good = sum(fate.ok for fate in fates)
    if good == len(fates):
        return 201
    if good:
        return 207
    return fates[0].status if len(fates) == 1 else 422


def recording_url(recording: Recording) -> str:
    """Return the address of a recording's page and row."""
    voice = recording.voice
    return reverse("voices:recording", args=[voice.workspace.slug, voice.code, recording.code])


@require_safe
@member("viewer")
def detail(request: WorkspaceRequest, voice: UUID, recording: UUID) -> HttpResponse:
    """A recording with its takes. To htmx the takes, or only its row when that is what will be replaced."""
    row = recording_of(request, voice, recording)
    takes = list(row.takes.all())
    for take in takes:
        take.recording = row
    usable = [take.seconds for take in takes if take.usable and not take.dropped]
    row.take_count, row.usable_seconds = len(takes), sum(usable)  # type: ignore[attr-defined]  # as in the voice's list
    context = {"workspace": request.workspace, "voice": row.voice, "recording": row, "takes": takes}
    if not request.htmx:
        return render(request, "voices/recording.html", context)
    wants_takes = (request.htmx.target or "").startswith("takes-")
    return render(request, "voices/_takes.html" if wants_takes else "voices/_recording.html", context)


@require_safe
@member("viewer")
def audio(request: WorkspaceRequest, voice: UUID, recording: UUID) -> HttpResponseBase:
    """The file as received."""
    row = recording_of(request, voice, recording)
    return serve(request, row.file, content_type=row.content_type, name=row.name, attachment="download" in request.GET)


@require_POST
@member("editor")
def delete(request: WorkspaceRequest, voice: UUID, recording: UUID) -> HttpResponse:
    """Delete a recording with its takes."""
    row = recording_of(request, voice, recording)
    recordings.delete_recording(recording=row, user=request.user)
    if request.htmx:
        return trigger_client_event(HttpResponse(), "takes-changed")
    messages.success(request, f"“{row.name}” is deleted.")
    return redirect(page_of(row.voice) + "#recordings")


@require_safe
@member("viewer")
def take_audio(request: WorkspaceRequest, voice: UUID, take: UUID) -> HttpResponseBase:
    """One take, as it is trained on."""
    row = take_of(request, voice, take)
    name = f"{row.recording.name} {row.start:.1f} s.flac"
    return serve(request, row.file, content_type="audio/flac", name=name, attachment=False)


@require_POST
@member("editor")
def drop_take(request: WorkspaceRequest, voice: UUID, take: UUID) -> HttpResponse:
    """Drop a take from the next training, or take it back in."""
    row = recordings.toggle_take(take_of(request, voice, take))
    if not request.htmx:
        return redirect(recording_url(row.recording) + f"#take-{row.code}")
    context = {"workspace": request.workspace, "voice": row.recording.voice, "take": row}
    return trigger_client_event(render(request, "voices/_take.html", context), "takes-changed")


@require_safe
@member("editor")
def record(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Record in the page while reading a shown script."""
    row = voice_of(request, voice)
    require_unlocked(row)
    context = {"workspace": request.workspace, "voice": row, "sentences": SENTENCES, "most_seconds": _LONGEST_SECONDS}
    return render(request, "voices/record.html", context)
