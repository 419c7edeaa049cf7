"""Recordings: sent whole or in parts, heard, deleted; and their takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from ninja import File, Form, Query
from ninja.files import UploadedFile

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.limits import Route
from apps.api.paging import page_of
from apps.api.routes.voices import voice_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.voices import NewUpload, Recording, RecordingForm, Take, TakeChange, Upload
from apps.jobs.downloads import serve
from apps.voices import models
from apps.voices.services import recordings, uploads

routes = Routes("recordings")


def temporary(file: UploadedFile) -> Path:
    """Return where an uploaded file lies: all of them are streamed to disk."""
    return Path(cast(Any, file).temporary_file_path())


def _recordings(request: ApiRequest) -> QuerySet[models.Recording]:
    rows = models.Recording.objects.filter(voice__workspace=request.caller.workspace)
    return rows.select_related("voice__workspace", "job")


def _takes(request: ApiRequest) -> QuerySet[models.Take]:
    rows = models.Take.objects.filter(recording__voice__workspace=request.caller.workspace)
    return rows.select_related("recording").defer("peaks", "grade")


@routes.read("/voices/{uuid:voice}/recordings", Page[Recording])
def list_recordings(request: ApiRequest, voice: UUID, paging: Query[Paging]) -> Page[Recording]:
    """A voice's recordings."""
    rows = _recordings(request).filter(voice=voice_of(request, voice))
    return page_of(request, rows, paging, Page[Recording], Recording.of)


@routes.write(
    "POST",
    "/voices/{uuid:voice}/recordings",
    Recording,
    status=201,
    cost=Route.DEAR,
)
def add_recording(request: ApiRequest, voice: UUID, given: Form[RecordingForm], file: File[UploadedFile]) -> Recording:
    """Add a recording to a voice."""
    row = recordings.add_recording(
        voice=voice_of(request, voice),
        user=request.caller.user,
        path=temporary(file),
        name=file.name or "",
        script=given.script,
    )
    return Recording.of(row)


@routes.read("/recordings/{uuid:recording}", Recording)
def get_recording(request: ApiRequest, recording: UUID) -> Recording:
    """One recording."""
    return Recording.of(get_object_or_404(_recordings(request), code=recording))


@routes.file("/recordings/{uuid:recording}/audio")
def get_recording_audio(request: ApiRequest, recording: UUID) -> HttpResponseBase:
    """A recording as it was received."""
    row = get_object_or_404(_recordings(request), code=recording)
    return serve(request, row.file, content_type=row.content_type, name=row.name, attachment=True)


@routes.write(
    "DELETE",
    "/recordings/{uuid:recording}",
    None,
    role="admin",
    status=204,
)
def delete_recording(request: ApiRequest, recording: UUID) -> None:
    """Delete a recording with its takes."""
    row = get_object_or_404(_recordings(request), code=recording)
    recordings.delete_recording(recording=row, user=request.caller.user)


@routes.write("POST", "/voices/{uuid:voice}/uploads", Upload, status=201)
def begin_upload(request: ApiRequest, voice: UUID, given: NewUpload) -> Upload:
    """Begin to send a recording in parts."""
    caller = request.caller
    row = uploads.begin(voice=voice_of(request, voice), user=caller.user, name=given.name, size=given.size)
    return Upload.of(row)


def _upload(request: ApiRequest, code: UUID) -> models.Upload:
    rows = models.Upload.objects.filter(voice__workspace=request.caller.workspace, direct=False)
    return get_object_or_404(rows.select_related("voice__workspace", "user"), code=code)


@routes.read("/uploads/{uuid:upload}", Upload, role="editor")
def get_upload(request: ApiRequest, upload: UUID) -> Upload:
    """How far an upload has come."""
    return Upload.of(_upload(request, upload))


@routes.write(
    "PUT",
    "/uploads/{uuid:upload}/parts/{int:offset}",
    Upload,
    cost=Route.DEAR,
    takes_bytes=True,
)
def put_part(request: ApiRequest, upload: UUID, offset: int) -> Upload:
    """Send the bytes that begin at an offset."""
    return Upload.of(uploads.append(upload=_upload(request, upload), offset=offset, source=cast(Any, request)))


@routes.write("POST", "/uploads/{uuid:upload}/finish", Recording, status=201, cost=Route.DEAR)
def finish_upload(request: ApiRequest, upload: UUID) -> Recording:
    """Make a recording of an upload whose bytes are all there."""
    return Recording.of(uploads.finish(upload=_upload(request, upload)))


@routes.write("DELETE", "/uploads/{uuid:upload}", None, status=204)
def abandon_upload(request: ApiRequest, upload: UUID) -> None:
    """Forget an upload."""
    uploads.abandon(_upload(request, upload))


_IN_PLACE = ("recording__created_at", "start", "code")


@routes.read("/voices/{uuid:voice}/takes", Page[Take])
def list_takes(request: ApiRequest, voice: UUID, paging: Query[Paging]) -> Page[Take]:
    """The slices of a voice's recordings, in their order."""
    rows = _takes(request).filter(recording__voice=voice_of(request, voice))
    return page_of(request, rows, paging, Page[Take], Take.of, order=_IN_PLACE)


@routes.read("/takes/{uuid:take}", Take)
def get_take(request: ApiRequest, take: UUID) -> Take:
    """One take."""
    return Take.of(get_object_or_404(_takes(request), code=take))


@routes.file("/takes/{uuid:take}/audio")
def get_take_audio(request: ApiRequest, take: UUID) -> HttpResponseBase:
    """A take as it is trained on."""
    row = get_object_or_404(_takes(request), code=take)
    name = f"{row.recording.name} {row.start:.1f} s.flac"
    return serve(request, row.file, content_type="audio/flac", name=name, attachment=True)


@routes.write("PATCH", "/takes/{uuid:take}", Take)
def change_take(request: ApiRequest, take: UUID, given: TakeChange) -> Take:
    """Drop a take from trainings, or take it back in."""
    row = get_object_or_404(_takes(request), code=take)
    if row.dropped != given.dropped:
        recordings.toggle_take(row)
    return Take.of(row)
