"""ElevenLabs' voice changer (speech to speech): a sound comes in, a job converts it, and the answer is the result."""

from __future__ import annotations

import asyncio
import wave
from dataclasses import dataclass
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
from apps.jobs.models import Job, Status
from apps.jobs.services import cancel
from apps.studio import services
from apps.studio.models import Conversion
from apps.voices.models import Voice

LARGEST_SEED = 2**32 - 1  # theirs; ours are half as many
RAW, RAW_RATE = "pcm_s16le_16", 16_000
NOT_READY_SECONDS = "5"


@dataclass(frozen=True)
class Wish:
    """What a request asks for."""

    voice: Voice
    audio: TemporaryUploadedFile
    output: formats.Output
    options: dict[str, Any]
    seed: int | None
    is_kept: bool  # in the history


@call("editor", Route.DEAR)
async def convert(request: ApiRequest, voice: str) -> Any:
    """Convert a sound into a voice and answer the result; who hangs up before its end cancels the conversion."""
    patience = waiting.Patience(waiting.CALL_SECONDS)
    wish = await sync_to_async(_wish)(request, voice)
    if not await waiting.until_ready(wish.voice, request.caller.user, patience):
        message = f"“{wish.voice.name}” is still being made; ask again in some seconds."
        raise No(message, status=409, word="voice_not_ready", headers={"Retry-After": NOT_READY_SECONDS})
    conversion = await sync_to_async(_submit)(request, wish)
    try:
        job = await waiting.until_ended(conversion.job, patience)
    except asyncio.CancelledError:
        await sync_to_async(cancel)(conversion.job)
        raise
    return await sync_to_async(_answer)(request, wish, conversion, job)


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


def _submit(request: ApiRequest, wish: Wish) -> Conversion:
    caller = request.caller
    source = services.add_source(workspace=caller.workspace, user=caller.user, upload=wish.audio)
    return services.submit_conversion(
        workspace=caller.workspace,
        user=caller.user,
        voice=wish.voice,
        source=source,
        options=wish.options,
        seed=wish.seed,
    )


def _answer(request: ApiRequest, wish: Wish, conversion: Conversion, job: Job | None) -> HttpResponseBase:
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
        raise No(job.message, status=500 if job.error_id else 400, word=word, headers=item)
    result = conversion.result
    if result is None:
        raise No(formats.GONE, status=410)
    answer = formats.sound(request, result, raw=wish.output.raw)
    if wish.is_kept:
        answer["history-item-id"] = item["history-item-id"]
    else:
        user = request.caller.user

        def forget() -> None:
            services.delete_conversion(conversion=conversion, user=user)

        answer._resource_closers.append(forget)  # type: ignore[attr-defined]  # called once it was sent, or could not be
    return answer
