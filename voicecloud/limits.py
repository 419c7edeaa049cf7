"""How much a request may bring, counted while it arrives: Django spools a body to disk before any of its own limits."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any

from django.core.handlers.asgi import ASGIRequest

from apps.api import problems
from apps.api.compat.answers import no_to
from apps.errors import Refused
from voicecloud.errors import FOR_SDKS

Scope = dict[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

FILES_COME_IN = ("/w/",)
FOR_KEYS = ("/v1/", problems.PREFIX)
KEY_HEADERS = {b"authorization", b"x-api-key", b"xi-api-key"}
SENTENCE = "This is more than the site takes in one request. Send fewer or smaller files."


class BodyTooLarge(Exception):
    """The body grew past its limit."""


class BodyLimit:
    """Ends a request with 413 once its body passes the limit: ``workspace`` bytes where files come in, else ``other``.

    Files come in under /w/, and in the APIs with a key: without one nothing is read before it is refused.
    """

    def __init__(self, app: App, *, workspace: int, other: int) -> None:
        self.app = app
        self.workspace = workspace
        self.other = other

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        limit = self.workspace if _may_bring_files(scope["path"], headers) else self.other
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > limit:
            await _refuse(scope, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLarge
            return message

        try:
            await self.app(scope, counted, send)
        except BodyTooLarge:
            # Django reads the whole body before it answers, so nothing has been sent yet.
            await _refuse(scope, send)


def _may_bring_files(path: str, headers: Mapping[bytes, bytes]) -> bool:
    return path.startswith(FILES_COME_IN) or (path.startswith(FOR_KEYS) and not KEY_HEADERS.isdisjoint(headers))


async def _refuse(scope: Scope, send: Send) -> None:
    """Say it as text, which a browser shows and htmx swaps in, or as JSON to a program."""
    accepted = dict(scope["headers"]).get(b"accept", b"")
    from_api, from_sdk = (scope["path"].startswith(start) for start in (problems.PREFIX, FOR_SDKS))
    as_json = from_api or from_sdk or (b"application/json" in accepted and b"text/html" not in accepted)
    code = uuid.uuid4().hex  # Django, which gives requests their ids, never saw this one
    told = problems.body_of(status=413, message=SENTENCE, request_id=code) if from_api else {"message": SENTENCE}
    body = (json.dumps(told) if as_json else SENTENCE).encode()
    if from_sdk:
        body = no_to(ASGIRequest(scope, BytesIO()), Refused(SENTENCE, status=413)).content
    headers = [
        (b"content-type", b"application/json" if as_json else b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", code.encode()),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
