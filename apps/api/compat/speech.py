"""ElevenLabs' voice changer (speech to speech): a sound comes in, a job converts it, and the answer is the result."""

from __future__ import annotations

import asyncio
import logging
import wave
from dataclasses import dataclass
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpResponseBase

from apps.api.auth import ApiRequest
from apps.api.compat import formats, voice_settings, waiting
from apps.api.compat.answers import No
from apps.api.compat.door import call, whole, yes_or_no
from apps.api.compat.lookup import voice_of
from apps.api.limits import Route
from apps.errors import Refused
from apps.jobs.models import Job, Status
from apps.jobs.services import cancel
from apps.studio import services
from apps.studio.models import Conversion
from apps.voices.models import Voice

log = logging.getLogger(__name__)
LARGEST_SEED = 2**32 - 1  # theirs; ours are half as many
RAW, RAW_RATE = "pcm_s16le_16", 16_000
NOT_READY_SECONDS = "5"
CANCELLED_WITHIN_SECONDS = 60.0


@dataclass(frozen=True)
class Wish:
    """What a request asks for."""

    voice: Voice
    audio: TemporaryUploadedFile
    output: formats.Output
    options: dict[str, Any]
    seed: int | None
    is_kept: bool  # in the history


@dataclass(frozen=True)
class Made:
    """What a request made: the conversion, and whether its source too."""

    conversion: Conversion
    has_brought_source: bool


@call("editor", Route.DEAR)
async def convert(request: ApiRequest, voice: str) -> Any:
    """Convert a sound into a voice and answer the result; who hangs up before its end cancels the conversion."""
    async with waiting.seat_in(request.caller.workspace):
        return await _converted(request, voice)


async def _converted(request: ApiRequest, voice: str) -> HttpResponseBase:
    patience = waiting.Patience(waiting.CALL_SECONDS)
    wish = await sync_to_async(_wish)(request, voice)
    if not await waiting.until_ready(wish.voice, request.caller.user, patience):
        message = f"“{wish.voice.name}” is still being made; ask again in some seconds."
        raise No(message, status=409, word="voice_not_ready", headers={"Retry-After": NOT_READY_SECONDS})
    made = await sync_to_async(_submit)(request, wish)
    try:
        job = await waiting.until_ended(made.conversion.job, patience)
    except asyncio.CancelledError:
        await _give_up(request, wish, made)
        raise
    return await sync_to_async(_answer)(request, wish, made, job)


def _wish(request: ApiRequest, voice: str) -> Wish:
    row, asked, sent = voice_of(request, voice), request.GET, request.POST
    output = formats.output_of(asked.get("output_format"))
    options = voice_settings.options_of(row)
    options |= voice_settings.preset_of(sent.get("model_id"))
    options |= voice_settings.changes_of_json(sent.get("voice_settings"), field="body.voice_settings")
    if sent.get("remove_background_noise"):
        clean = yes_or_no(sent["remove_background_noise"], usual=False, field="body.remove_background_noise")
        options["denoise"] = 1.0 if clean else 0.0
    seed = whole(sent.get("seed"), usual=-1, least=0, most=LARGEST_SEED, field="body.seed")
    return Wish(
        voice=row,
        audio=_audio(request),
        output=output,
        options=options | output.options,
        seed=None if seed < 0 else seed % services.SEEDS,
        is_kept=yes_or_no(asked.get("enable_logging"), usual=True, field="query.enable_logging"),
    )


def _audio(request: ApiRequest) -> TemporaryUploadedFile:
    audio = request.FILES.get("audio")
    if not isinstance(audio, TemporaryUploadedFile):
        raise No("Send the sound as the file “audio”.", status=422, word="missing", field="body.audio")
    kind = request.POST.get("file_format") or "other"
    if kind not in (RAW, "other"):
        message = f"The format of the file is “{RAW}” or “other”."
        raise No(message, status=422, word="enum", field="body.file_format")
    return _with_header(audio) if kind == RAW else audio


def _with_header(raw: TemporaryUploadedFile) -> TemporaryUploadedFile:
    """Return raw mono samples of 16 bit as a WAV file."""
    found = TemporaryUploadedFile(f"{raw.name}.wav", "audio/wav", 0, None)
    with wave.open(found.temporary_file_path(), "wb") as file:
        file.setparams((1, 2, RAW_RATE, 0, "NONE", ""))
        for block in raw.chunks():
            file.writeframesraw(block)
    return found


def _submit(request: ApiRequest, wish: Wish) -> Made:
    caller = request.caller
    source, is_new = services.bring_source(workspace=caller.workspace, user=caller.user, upload=wish.audio)
    try:
        conversion = services.submit_conversion(
            workspace=caller.workspace,
            user=caller.user,
            voice=wish.voice,
            source=source,
            options=wish.options,
            seed=wish.seed,
        )
    except Refused:
        if is_new and not wish.is_kept:
            services.delete_unused(source)
        raise
    return Made(conversion, has_brought_source=is_new)


async def _give_up(request: ApiRequest, wish: Wish, made: Made) -> None:
    await sync_to_async(cancel)(made.conversion.job)
    if wish.is_kept:
        return
    ended = await waiting.until_ended(made.conversion.job, waiting.Patience(CANCELLED_WITHIN_SECONDS))
    if ended is None:
        log.error("not cancelled in time, and not to be kept: conversion %s", made.conversion.code)
        return
    made.conversion.job = ended
    await sync_to_async(_forget)(request, made)


def _forget(request: ApiRequest, made: Made) -> None:
    """Delete what was not to be kept, but no file that a colleague had brought before."""
    try:
        services.delete_conversion(
            conversion=made.conversion, user=request.caller.user, with_source=made.has_brought_source
        )
    except Exception:
        # Called after the answer, where Django passes over it: the log is all that can be told.
        log.exception("not deleted, and not to be kept: conversion %s", made.conversion.code)


def _answer(request: ApiRequest, wish: Wish, made: Made, job: Job | None) -> HttpResponseBase:
    conversion = made.conversion
    item = {"history-item-id": str(conversion.code)}
    if job is None:
        message = (
            "The conversion takes longer than one request may wait, and goes on. Fetch its sound later, as that of the "
            f"history item {conversion.code}."
        )
        raise No(message, status=400, word="still_converting", headers=item)
    conversion.job = job
    if job.status != Status.DONE:
        word = "conversion_cancelled" if job.status == Status.CANCELLED else "conversion_failed"
        if not wish.is_kept:
            _forget(request, made)
        raise No(job.message, status=500 if job.error_id else 400, word=word, headers=item if wish.is_kept else None)
    result = conversion.result
    if result is None:
        raise No(formats.GONE, status=410)
    answer = formats.sound(request, result, raw=wish.output.raw)
    if wish.is_kept:
        answer["history-item-id"] = item["history-item-id"]
    else:
        # Called once it was sent, or could not be.
        answer._resource_closers.append(partial(_forget, request, made))  # type: ignore[attr-defined]
    return answer
