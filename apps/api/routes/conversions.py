"""Sources, conversions, batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from uuid import UUID

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.datastructures import MultiValueDict
from ninja import File, Form, Query
from ninja.files import UploadedFile

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.forms import named, require_valid
from apps.api.limits import Route
from apps.api.paging import page_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.studio import (
    Again,
    Batch,
    BatchDetail,
    Conversion,
    ConversionDetail,
    Kept,
    NewBatch,
    NewConversion,
    Options,
    Source,
    UploadedConversion,
)
from apps.errors import Refused
from apps.jobs.downloads import serve
from apps.studio import batches, models, retention, services
from apps.studio.forms import ConversionForm, initial_of
from apps.studio.options import defaults
from apps.voices.models import Voice

routes = Routes("conversions")
# What the form of the page calls otherwise.
_CALLED = {"semitones": "options.pitch", "pitch_mode": "options.pitch", "upload": "file"}


def _sources(request: ApiRequest) -> QuerySet[models.Source]:
    return request.caller.workspace.sources.all()


@routes.read("/sources", Page[Source])
def list_sources(request: ApiRequest, paging: Query[Paging]) -> Page[Source]:
    """The files that conversions started from or can start from."""
    return page_of(request, _sources(request), paging, Page[Source], Source.of)


@routes.write("POST", "/sources", Source, status=201, cost=Route.DEAR)
def add_source(request: ApiRequest, file: File[UploadedFile]) -> Source:
    """Bring a file to convert; the same bytes again are the same source."""
    return Source.of(_taken_in(request, file))


def _taken_in(request: ApiRequest, file: UploadedFile) -> models.Source:
    upload = cast(TemporaryUploadedFile, file)
    return services.add_source(workspace=request.caller.workspace, user=request.caller.user, upload=upload)


@routes.read("/sources/{uuid:source}", Source)
def get_source(request: ApiRequest, source: UUID) -> Source:
    """One source."""
    return Source.of(get_object_or_404(_sources(request), code=source))


@routes.file("/sources/{uuid:source}/audio")
def get_source_audio(request: ApiRequest, source: UUID) -> HttpResponseBase:
    """A source as it was received."""
    return _original(request, get_object_or_404(_sources(request), code=source))


def _original(request: ApiRequest, source: models.Source) -> HttpResponseBase:
    if not source.is_stored:
        raise Refused("This source has expired, so it can be heard no more. Send the file again.", status=410)
    return serve(request, source.file, content_type=source.content_type, name=source.name, attachment=True)


def _rows(request: ApiRequest) -> QuerySet[models.Conversion]:
    rows = request.caller.workspace.conversions.select_related("voice", "source", "job", "parent", "batch", "workspace")
    # The curves are long, and nothing here shows them.
    return rows.prefetch_related("job__artifacts").defer(
        "curves", "parent__curves", "parent__metrics", "parent__options", "batch__refused"
    )


def _checked(
    request: ApiRequest,
    voice: Voice,
    options: Mapping[str, Any],
    *,
    file: UploadedFile | None = None,
    source: models.Source | None = None,
) -> ConversionForm:
    """Return the page's own form, valid with these options over the usual ones."""
    if voice.active_model is None:
        raise Refused(f"“{voice.name}” has no active model; train one or activate one first.", status=409)
    chosen = {name: value for name, value in options.items() if name != "seed"}
    data = {**initial_of({**defaults(), **chosen}), "voice": voice.code, "seed": options.get("seed")}
    if source is not None:
        data["source"] = source.code
    files = MultiValueDict({"upload": [file]} if file is not None else {})
    form = ConversionForm(request.caller.workspace, data, files)
    return require_valid(form, called={name: f"options.{name}" for name in defaults()} | _CALLED)


def _submit(
    request: ApiRequest, form: ConversionForm, source: models.Source, parent: models.Conversion | None = None
) -> Conversion:
    caller = request.caller
    made = services.submit_conversion(
        workspace=caller.workspace,
        user=caller.user,
        voice=form.cleaned_data["voice"],
        source=source,
        options=form.options,
        seed=form.cleaned_data["seed"],
        parent=parent,
    )
    return Conversion.of(_rows(request).get(pk=made.pk))


@routes.read("/conversions", Page[Conversion])
def list_conversions(request: ApiRequest, paging: Query[Paging]) -> Page[Conversion]:
    """The workspace's conversions."""
    return page_of(request, _rows(request).defer("metrics"), paging, Page[Conversion], Conversion.of)


@routes.write("POST", "/conversions", Conversion, status=201, cost=Route.DEAR)
def create_conversion(request: ApiRequest, given: NewConversion) -> Conversion:
    """Convert a source into a voice."""
    workspace = request.caller.workspace
    voice = named(workspace.voices.all(), given.voice, param="voice", what="voice")
    source = named(_sources(request), given.source, param="source", what="source")
    if not source.is_stored:
        raise Refused(retention.SOURCE_GONE, status=410)
    form = _checked(request, voice, _options(given.options), source=source)
    return _submit(request, form, source)


def _options(given: Options) -> dict[str, Any]:
    return given.model_dump(exclude_none=True, exclude={"voice"})


@routes.write("POST", "/conversions/upload", Conversion, status=201, cost=Route.DEAR)
def convert_file(request: ApiRequest, given: Form[UploadedConversion], file: File[UploadedFile]) -> Conversion:
    """Convert a new file into a voice, in one request."""
    voice = named(request.caller.workspace.voices.all(), given.voice, param="voice", what="voice")
    form = _checked(request, voice, _options(given), file=file)
    return _submit(request, form, _taken_in(request, file))


@routes.read("/conversions/{uuid:conversion}", ConversionDetail)
def get_conversion(request: ApiRequest, conversion: UUID) -> ConversionDetail:
    """One conversion with what was measured of it."""
    return ConversionDetail.of(get_object_or_404(_rows(request), code=conversion))


@routes.file("/conversions/{uuid:conversion}/result")
def get_result(request: ApiRequest, conversion: UUID) -> HttpResponseBase:
    """What a conversion made."""
    row = get_object_or_404(_rows(request), code=conversion)
    result = row.result if row.job.status == "done" else None
    if result is None:
        raise Refused("There is no result: it is not made yet, has failed or has expired.", status=410)
    return serve(request, result.file, content_type=result.content_type, name=result.name, attachment=True)


@routes.file("/conversions/{uuid:conversion}/original")
def get_original(request: ApiRequest, conversion: UUID) -> HttpResponseBase:
    """What a conversion started from, as it was received."""
    return _original(request, get_object_or_404(_rows(request), code=conversion).source)


@routes.write("POST", "/conversions/{uuid:conversion}/again", Conversion, status=201, cost=Route.DEAR)
def convert_again(request: ApiRequest, conversion: UUID, given: Again) -> Conversion:
    """Convert the same source again, with something changed."""
    parent = get_object_or_404(_rows(request), code=conversion)
    if not parent.source.is_stored:
        raise Refused(retention.SOURCE_GONE, status=410)
    voice = parent.voice
    if given.voice is not None:
        voice = named(request.caller.workspace.voices.all(), given.voice, param="voice", what="voice")
    options = {**parent.options, "seed": parent.seed, **_options(given.options)}
    return _submit(request, _checked(request, voice, options, source=parent.source), parent.source, parent)


@routes.write("PATCH", "/conversions/{uuid:conversion}", Conversion)
def change_conversion(request: ApiRequest, conversion: UUID, given: Kept) -> Conversion:
    """Keep a conversion's files for ever, or let them expire again."""
    row, user = get_object_or_404(_rows(request), code=conversion), request.caller.user
    if given.kept:
        retention.keep(conversion=row, user=user)
    else:
        retention.let_expire(conversion=row, user=user)
    return Conversion.of(_rows(request).get(pk=row.pk))


@routes.write("DELETE", "/conversions/{uuid:conversion}", None, role="admin", status=204)
def delete_conversion(request: ApiRequest, conversion: UUID) -> None:
    """Delete a conversion with its files."""
    row = get_object_or_404(_rows(request), code=conversion)
    services.delete_conversion(conversion=row, user=request.caller.user)


@routes.read("/batches", Page[Batch])
def list_batches(request: ApiRequest, paging: Query[Paging]) -> Page[Batch]:
    """The workspace's batches."""
    return page_of(request, batches.counted(request.caller.workspace), paging, Page[Batch], Batch.of)


@routes.write("POST", "/batches", BatchDetail, status=201, cost=Route.DEAR)
def create_batch(request: ApiRequest, given: NewBatch) -> BatchDetail:
    """Convert each of many sources into each of many voices; what cannot be started is told and stops nothing else."""
    workspace, caller = request.caller.workspace, request.caller
    options = _options(given.options)
    found = [named(workspace.voices.all(), code, param="voices", what="voice") for code in given.voices]
    sources = [named(_sources(request), code, param="sources", what="source") for code in given.sources]
    usable = next((voice for voice in found if voice.active_model is not None), None)
    if usable is None:
        raise Refused("None of these voices has an active model; train one or activate one first.", status=409)
    form = _checked(request, usable, options, source=sources[0])
    batch = batches.submit_batch(
        workspace=workspace,
        user=caller.user,
        name=given.name,
        pairs=[(source, voice) for source in sources for voice in found],
        options=form.options,
        seed=form.cleaned_data["seed"],
    )
    return _detail(request, batch.code)


def _detail(request: ApiRequest, code: UUID) -> BatchDetail:
    row = get_object_or_404(batches.counted(request.caller.workspace), code=code)
    items = [Conversion.of(one) for one in _rows(request).filter(batch=row).order_by("created_at", "code")]
    return BatchDetail(**dict(Batch.of(row)), items=items)


@routes.read("/batches/{uuid:batch}", BatchDetail)
def get_batch(request: ApiRequest, batch: UUID) -> BatchDetail:
    """One batch with its items."""
    return _detail(request, batch)


@routes.write("POST", "/batches/{uuid:batch}/cancel", BatchDetail)
def cancel_batch(request: ApiRequest, batch: UUID) -> BatchDetail:
    """Stop all of a batch that has not ended."""
    batches.cancel_batch(get_object_or_404(request.caller.workspace.batches, code=batch))
    return _detail(request, batch)
