"""Uploads past the site, straight into the object store. POST announces a file and answers where to PUT it; a second
POST has it checked and taken in. Whose browser cannot reach the store sends parts instead (``uploads.py``).
"""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_POST

from apps.accounts.access import WorkspaceRequest, member
from apps.errors import Refused
from apps.voices.forms import AnnouncedFileForm
from apps.voices.models import Upload
from apps.voices.services import direct
from apps.voices.views.answers import plainly
from apps.voices.views.lookup import voice_of
from apps.voices.views.recordings import recording_url


@require_POST
@member("editor")
@plainly
def begin(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Announce a file by ``name`` and ``size``: 201, and the PUT's ``url`` and ``headers``, ``finish``, ``upload``."""
    row = voice_of(request, voice)
    form = AnnouncedFileForm(request.POST)
    if not form.is_valid():
        raise Refused("Say the file's name, and its size as a whole number of bytes.", status=400)
    upload, signed = direct.begin(voice=row, user=request.user, **form.cleaned_data)
    codes = [request.workspace.slug, row.code, upload.code]
    answer = {
        "url": signed.url,
        "headers": signed.headers,
        "finish": reverse("voices:direct-finish", args=codes),
        "upload": reverse("voices:upload", args=codes),
    }
    return JsonResponse(answer, status=201, headers={"Cache-Control": "no-store"})


@require_POST
@member("editor")
@plainly
def finish(request: WorkspaceRequest, voice: UUID, upload: UUID) -> HttpResponse:
    """Take in what was put into the store: 204 and ``Recording-Location``, or a 4xx whose body is the sentence."""
    owner = voice_of(request, voice)
    row: Upload = get_object_or_404(owner.uploads.select_related("user"), code=upload)
    row.voice = owner
    location = recording_url(direct.finish(upload=row))
    return HttpResponse(status=204, headers={"Recording-Location": location})
