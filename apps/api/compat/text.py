"""What both SDKs call for and this site does not do: text to speech; and addresses that are none of ours."""

from __future__ import annotations

from typing import Any, NoReturn

from apps.api.auth import ApiRequest
from apps.api.compat.answers import No
from apps.api.compat.door import call
from apps.api.compat.lookup import voice_of

NOT_YET = "Text to speech is not part of this site yet. Convert a recording instead, by speech to speech."


@call("editor")
def speak(request: ApiRequest, voice: str) -> NoReturn:
    """Refuse ElevenLabs' text to speech (501), for a voice that is there."""
    voice_of(request, voice)
    raise No(NOT_YET, status=501)


@call("editor")
def speech(request: ApiRequest) -> NoReturn:
    """Refuse OpenAI's text to speech (501)."""
    raise No(NOT_YET, status=501)


@call("viewer")
def unknown(request: ApiRequest, rest: str) -> Any:
    """Refuse every other address of theirs (404)."""
    message = f"{request.path} is not among the calls that this site understands; docs/api.md lists those."
    raise No(message, status=404)
