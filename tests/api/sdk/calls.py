"""What the tests with ElevenLabs' SDK do again and again."""

from __future__ import annotations

import io
from typing import Any

import av
import pytest
from elevenlabs.client import ElevenLabs
from elevenlabs.core.api_error import ApiError
from elevenlabs.core.request_options import RequestOptions
from elevenlabs.errors import UnprocessableEntityError

ONCE: RequestOptions = {"max_retries": 0}  # what is refused here stays refused
SECONDS = 2.0


def consent(client: ElevenLabs, name: str, **more: str) -> dict[str, str]:
    """Return the labels of a consent, with the statement that the site says they make."""
    labels = {"consent_speaker": "Ada Example", "consent_whose": "own", **more}
    with pytest.raises(UnprocessableEntityError) as refused:
        client.voices.ivc.create(name=name, files=[b"RIFF"], labels=labels, request_options=ONCE)
    [fault] = refused.value.body["detail"]
    assert (fault["loc"], fault["type"]) == (["body", "labels"], "consent_required")
    return {**labels, "consent": fault["msg"].split("label consent: ")[1]}


def heard(sound: bytes) -> tuple[str, int, int, float]:
    """Return codec, rate, bit rate and seconds of an encoded sound."""
    with av.open(io.BytesIO(sound)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(audio=0))
        return stream.codec_context.name, stream.rate, stream.bit_rate or 0, samples / stream.rate


def changed(client: ElevenLabs, voice: str, audio: Any, **options: Any) -> bytes:
    """Convert a sound by the SDK and return all of it."""
    return b"".join(client.speech_to_speech.convert(voice, audio=audio, request_options=ONCE, **options))


def detail_of(error: pytest.ExceptionInfo[ApiError]) -> dict[str, str]:
    """Return the detail of an error, which has exactly a status and a message."""
    detail = error.value.body["detail"]
    assert set(detail) == {"status", "message"} and detail["message"].endswith((".", "!"))
    return dict(detail)


def strictly(found: Any) -> Any:
    """Check an answer by the SDK's own types, which it does not insist on itself."""
    return type(found).model_validate(found.model_dump())
