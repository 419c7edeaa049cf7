"""Resumable uploads as the tus protocol 1.0.0 says (https://tus.io/protocols/resumable-upload), with the extensions
creation and termination. Two things are ours: the request that brings the last byte answers with the file's fate (204
and ``Recording-Location``, or a 4xx whose body is the sentence), and an empty PATCH at the end asks for it again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from apps.accounts.access import WorkspaceRequest, member
from apps.errors import Refused
from apps.voices.models import Upload
from apps.voices.services import uploads
from apps.voices.views.answers import plain
from apps.voices.views.lookup import voice_of
from apps.voices.views.recordings import recording_url

VERSION = "1.0.0"
EXTENSIONS = "creation,termination"
_LONGEST_NAME = 1000


def speaks_tus(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Check the protocol's version, and answer a refusal as plain text, as programs read it."""

    @wraps(view)
    def answered(request: WorkspaceRequest, *args: UUID) -> HttpResponse:
        if request.method != "OPTIONS" and request.headers.get("Tus-Resumable") != VERSION:
            response = plain(f"This address speaks tus {VERSION}; say so in the header Tus-Resumable.", 412)
        else:
            try:
                response = view(request, *args)
            except Refused as refused:
                response = plain(refused.message, refused.status)
        response["Tus-Resumable"] = VERSION
        response["Tus-Version"] = VERSION
        return response

    return answered


@require_http_methods(["OPTIONS", "POST"])
@member("editor")
def collection(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """OPTIONS: what is spoken here. POST: announce a file."""
    return _collection(request, voice)


@speaks_tus
def _collection(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    if request.method == "OPTIONS":
        limits = {"Tus-Extension": EXTENSIONS, "Tus-Max-Size": str(settings.UPLOAD_MAX_BYTES)}
        return HttpResponse(status=204, headers=limits)
    upload = uploads.begin(
        voice=voice_of(request, voice),
        user=request.user,
        name=_name_in(request.headers.get("Upload-Metadata", "")),
        size=_number(request, "Upload-Length"),
    )
    url = reverse("voices:upload", args=[request.workspace.slug, voice, upload.code])
    return HttpResponse(status=201, headers={"Location": url, "Upload-Offset": "0"})


@require_http_methods(["HEAD", "PATCH", "DELETE"])
@member("editor")
def one(request: WorkspaceRequest, voice: UUID, upload: UUID) -> HttpResponse:
    """HEAD: how far it is. PATCH: bytes from there on. DELETE: forget it."""
    return _one(request, voice, upload)


@speaks_tus
def _one(request: WorkspaceRequest, voice: UUID, code: UUID) -> HttpResponse:
    owner = voice_of(request, voice)
    upload: Upload = get_object_or_404(owner.uploads.select_related("user"), code=code)
    upload.voice = owner
    if request.method == "HEAD":
        return HttpResponse(status=200, headers={**_progress(upload), "Cache-Control": "no-store"})
    if request.method == "DELETE":
        uploads.abandon(upload)
        return HttpResponse(status=204)
    if request.content_type != "application/offset+octet-stream":
        raise Refused("Send the bytes as application/offset+octet-stream.", status=415)
    upload = uploads.append(upload=upload, offset=_number(request, "Upload-Offset"), source=request)  # type: ignore[arg-type]  # it has read()
    headers = _progress(upload)
    if upload.offset == upload.size:
        headers["Recording-Location"] = recording_url(uploads.finish(upload=upload))
    return HttpResponse(status=204, headers=headers)


def _progress(upload: Upload) -> dict[str, str]:
    return {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.size)}


def _number(request: WorkspaceRequest, header: str) -> int:
    value = request.headers.get(header, "")
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        raise Refused(f"The header {header} must be a whole number of bytes.", status=400)
    return int(value)


def _name_in(metadata: str) -> str:
    """Return the file name in ``Upload-Metadata``: pairs of a key and a base64 value, separated by commas."""
    for pair in metadata.split(","):
        key, _, value = pair.strip().partition(" ")
        if key == "filename":
            try:
                return base64.b64decode(value, validate=True).decode()[:_LONGEST_NAME]
            except (binascii.Error, UnicodeDecodeError):
                raise Refused("The file's name in Upload-Metadata must be UTF-8 in base64.", status=400) from None
    return ""
