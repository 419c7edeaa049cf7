"""ElevenLabs' names of formats, what each asks of our engine, and the bytes of a result as they were asked for."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from django.core.handlers.asgi import ASGIRequest
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header

from apps.api.compat.answers import No
from apps.errors import Refused
from apps.jobs.downloads import BLOCK_BYTES, safe_name
from apps.jobs.models import Artifact
from apps.studio.options import FORMATS, SAMPLE_RATES

USUAL = "mp3_44100_128"
_MP3 = ((22_050, 32), (24_000, 48), (44_100, 32), (44_100, 64), (44_100, 96), (44_100, 128), (44_100, 192))
_OPUS = (32, 64, 96, 128, 192)
GONE = "This sound is stored no more; convert its source again."


@dataclass(frozen=True)
class Output:
    """What a name of a format asks for; ``raw``: 16-bit little-endian mono samples without a header."""

    format: str  # of ``apps.studio.options.FORMATS``
    sample_rate: int  # Hz
    bit_rate: int | None = None  # bit/s
    raw: bool = False

    @property
    def content_type(self) -> str:
        """The media type of what is sent."""
        return "audio/pcm" if self.raw else FORMATS[self.format].content_type

    @property
    def options(self) -> dict[str, Any]:
        """What is asked of the engine, as options of a conversion."""
        asked = {"format": self.format, "sample_rate": self.sample_rate}
        return {**asked, "bit_rate": self.bit_rate} if self.bit_rate else asked


OUTPUTS: dict[str, Output] = {
    **{f"mp3_{rate}_{kilobits}": Output("mp3", rate, kilobits * 1000) for rate, kilobits in _MP3},
    **{f"opus_48000_{kilobits}": Output("ogg", 48_000, kilobits * 1000) for kilobits in _OPUS},
    **{f"pcm_{rate}": Output("wav16", rate, raw=True) for rate in SAMPLE_RATES},
    **{f"wav_{rate}": Output("wav16", rate) for rate in SAMPLE_RATES},
}


def output_of(name: str | None) -> Output:
    """Return what ``name`` asks for, MP3 when it is absent. Raises No (422) for a format that is not made here."""
    try:
        return OUTPUTS[name or USUAL]
    except KeyError:
        message = f"The format “{name}” is not made here; choose one of {', '.join(OUTPUTS)}."
        raise No(message, status=422, word="enum", field="query.output_format") from None


def sound(request: HttpRequest, artifact: Artifact, *, raw: bool = False) -> StreamingHttpResponse:
    """Answer a stored sound in blocks, without its header when ``raw``. Raises Refused (410) when it is gone."""
    if not artifact.is_stored:
        raise Refused(f"This sound expired on {artifact.expired_at:%-d %B %Y}.", status=410)
    if raw:
        return stored(request, artifact.file, content_type="audio/pcm", name=f"{artifact.name}.pcm", raw=True)
    return stored(request, artifact.file, content_type=artifact.content_type, name=artifact.name, size=artifact.size)


def stored(
    request: HttpRequest, file: FieldFile, *, content_type: str, name: str, size: int | None = None, raw: bool = False
) -> StreamingHttpResponse:
    """Answer a stored file in blocks. Raises Refused (410) when it is gone.

    It comes from the site itself also where it lies in an object store: a redirect would take the key along to there.
    """
    try:
        handle = cast("BinaryIO", file.storage.open(str(file.name), "rb"))
    except FileNotFoundError:
        raise Refused(GONE, status=410) from None
    response = streamed(request, samples_of(handle) if raw else blocks_of(handle), content_type=content_type)
    response._resource_closers.append(handle.close)  # type: ignore[attr-defined]  # as FileResponse does
    if size is not None:
        response["Content-Length"] = str(size)
    response["Content-Disposition"] = content_disposition_header(True, safe_name(name)) or "attachment"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "private, no-store"
    return response


def streamed(request: HttpRequest, found: Iterator[bytes], *, content_type: str) -> StreamingHttpResponse:
    """Answer blocks as they are read. Under ASGI Django would read a plain iterator to its end before the first."""
    body: Any = _in_a_thread(found) if isinstance(request, ASGIRequest) else found
    return StreamingHttpResponse(body, content_type=content_type)


async def _in_a_thread(found: Iterator[bytes]) -> AsyncIterator[bytes]:
    while block := await asyncio.to_thread(next, found, b""):
        yield block


def blocks_of(handle: BinaryIO) -> Iterator[bytes]:
    """Yield the bytes of an open file."""
    while block := handle.read(BLOCK_BYTES):
        yield block


def samples_of(handle: BinaryIO) -> Iterator[bytes]:
    """Yield the samples of an open WAV file of 16 bit as raw mono, both channels of stereo mixed."""
    with wave.open(handle, "rb") as file:
        channels = file.getnchannels()
        while block := file.readframes(BLOCK_BYTES // (2 * channels)):
            if channels > 1:
                frames = np.frombuffer(block, "<i2").reshape(-1, channels)
                block = frames.mean(axis=1).round().astype("<i2").tobytes()
            yield block
