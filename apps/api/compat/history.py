"""ElevenLabs' history: the workspace's conversions, whoever made them, newest first."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any, cast

from django.conf import settings
from django.db.models import Q, QuerySet
from django.http import HttpResponseBase

from apps.api.auth import ApiRequest
from apps.api.compat import formats, voice_settings
from apps.api.compat.answers import No
from apps.api.compat.door import call, json_of, line, whole
from apps.api.compat.lookup import answer, code_of, conversion_of, conversions, conversions_of
from apps.api.compat.voices import CLONED
from apps.api.limits import Route
from apps.jobs.downloads import BLOCK_BYTES
from apps.jobs.models import Artifact, Status
from apps.studio import services
from apps.studio.models import Conversion
from apps.studio.options import FORMATS

MOST_AT_ONCE = 100
_LATEST = 253_402_300_799  # the last second of the year 9999
_NAMES = {output: name for name, output in formats.OUTPUTS.items() if not output.raw}


@call("viewer")
def every(request: ApiRequest) -> Any:
    """Answer a page of what was converted; ``start_after_history_item_id`` is the last item of the page before."""
    asked = request.GET
    size = whole(asked.get("page_size"), usual=100, least=1, most=1000, field="query.page_size")
    up = asked.get("sort_direction") == "asc"
    rows = _filtered(request).order_by(*(("created_at", "pk") if up else ("-created_at", "-pk")))
    if after := asked.get("start_after_history_item_id"):
        last, than = _last(request, after), "gt" if up else "lt"
        same = Q(created_at=last.created_at, **{f"pk__{than}": last.pk})
        rows = rows.filter(Q(**{f"created_at__{than}": last.created_at}) | same)
    page = list(rows[: size + 1])
    more, page = len(page) > size, page[:size]
    last_code = str(page[-1].code) if page else None
    return answer({"history": [shown(row) for row in page], "last_history_item_id": last_code, "has_more": more})


def _last(request: ApiRequest, code: str) -> Conversion:
    try:
        return conversion_of(request, code)
    except No:
        message = (
            f"The history item {code} is not in this workspace, or was deleted meanwhile. Go on with date_before_unix: "
            "one second after the date_unix of the last item that you have."
        )
        raise No(message, status=404, word="history_item_not_found") from None


def _filtered(request: ApiRequest) -> QuerySet[Conversion]:
    asked = request.GET
    rows = conversions(request).filter(job__status=Status.DONE)
    if voice := asked.get("voice_id"):
        rows = rows.filter(voice__code=code_of(voice))
    if text := asked.get("search"):
        rows = rows.filter(source__name__icontains=line(text, field="query.search"))
    if asked.get("source") not in (None, "", "STS"):
        rows = rows.none()
    for name, lookup in (("date_before_unix", "created_at__lt"), ("date_after_unix", "created_at__gt")):
        moment = whole(asked.get(name), usual=-1, least=0, most=_LATEST, field=f"query.{name}")
        if moment >= 0:
            rows = rows.filter(**{lookup: datetime.fromtimestamp(moment, UTC)})
    return rows


@call("viewer")
def detail(request: ApiRequest, code: str) -> Any:
    """Answer one conversion, also one that is still being made."""
    return answer(shown(conversion_of(request, code)))


@call("admin", Route.NORMAL)
def delete(request: ApiRequest, code: str) -> Any:
    """Delete a conversion with its files."""
    services.delete_conversion(conversion=conversion_of(request, code), user=request.caller.user)
    return answer({"status": "ok"})


@call("viewer")
def audio(request: ApiRequest, code: str) -> HttpResponseBase:
    """Answer a conversion's sound in the format that it was made in."""
    return formats.sound(request, _result(conversion_of(request, code)))


@call("viewer", Route.NORMAL)
def download(request: ApiRequest) -> HttpResponseBase:
    """Answer the sound of one conversion, or a ZIP file with those of several."""
    asked = json_of(request)
    codes = asked.get("history_item_ids")
    if not isinstance(codes, list) or not 0 < len(codes) <= MOST_AT_ONCE:
        message = f"Send from 1 to {MOST_AT_ONCE} ids."
        raise No(message, status=422, word="list_type", field="body.history_item_ids")
    rows = conversions_of(request, map(str, codes))
    results = [_result(row) for row in rows]
    form = asked.get("output_format") or "default"
    if form != "default" and any(result.content_type != f"audio/{form}" for result in results):
        message = "Sounds are sent in the format that they were made in; leave output_format out."
        raise No(message, status=422, word="enum", field="body.output_format")
    if len(results) == 1:
        return formats.sound(request, results[0])
    if sum(result.size for result in results) > settings.REQUEST_MAX_BYTES:
        raise No("These are too large for one file; send fewer ids.", status=413)
    file = cast("IO[bytes]", tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR))  # noqa: SIM115  # closed below
    response = formats.streamed(request, _packed(file, rows, results), content_type="application/zip")
    response._resource_closers.append(file.close)  # type: ignore[attr-defined]  # as FileResponse does
    response["Content-Disposition"] = 'attachment; filename="history.zip"'
    return response


def _packed(file: IO[bytes], rows: list[Conversion], results: list[Artifact]) -> Iterator[bytes]:
    # Sound does not get smaller by it, so nothing is compressed.
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for row, result in zip(rows, results, strict=True):
            suffix = FORMATS[row.options["format"]].suffix
            with result.file.open("rb") as sound, archive.open(f"{row.code}.{suffix}", "w", force_zip64=True) as entry:
                while block := sound.read(BLOCK_BYTES):
                    entry.write(block)
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        yield block


def _result(conversion: Conversion) -> Artifact:
    if not conversion.job.is_finished:
        message = f"The history item {conversion.code} is still being converted; ask again in some seconds."
        raise No(message, status=409, word="still_converting", headers={"Retry-After": "5"})
    result = conversion.result
    if result is None:
        gone = conversion.expired_result is not None
        message = formats.GONE if gone else f"There is no sound: {conversion.job.message}"
        raise No(message, status=410 if gone else 400, word="no_sound")
    return result


def shown(conversion: Conversion) -> dict[str, Any]:
    """Return a conversion as ElevenLabs' clients read it; what they count in characters are seconds here."""
    job, options = conversion.job, conversion.options
    result = conversion.result
    made = formats.Output(options["format"], options["sample_rate"] or 0, options.get("bit_rate"))
    state = "created" if result is not None else "deleted"
    return {
        "history_item_id": str(conversion.code),
        "request_id": job.request_id or None,
        "voice_id": str(conversion.voice.code),
        "model_id": voice_settings.model_of(options["preset"]),
        "voice_name": conversion.voice.name,
        "voice_category": CLONED,
        "text": None,
        "date_unix": int(conversion.created_at.timestamp()),
        "character_count_change_from": 0,
        "character_count_change_to": job.usage.spent if job.usage else 0,
        "content_type": FORMATS[options["format"]].content_type,
        "state": state if job.is_finished else "processing",
        "settings": voice_settings.shown(options),
        "source": "STS",
        "output_format": _NAMES.get(made),
    }
