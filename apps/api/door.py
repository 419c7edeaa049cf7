"""The one wrapper around every operation: who calls, whether they may, how often, and what is answered when not.

A route is declared by ``Routes``, so that none can be without the door: authentication, the key's role, the rate limit,
one answer to one ``Idempotency-Key``, the media type of the body, then the operation itself and its ETag.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial, wraps
from typing import Any, Literal, TypeVar, cast

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponseBase
from django.utils.http import parse_etags
from ninja import Router
from ninja.decorators import decorate_view
from ninja.responses import Status

from apps.api import auth, idempotency, limits, problems
from apps.api.auth import ApiRequest
from apps.api.limits import Route
from apps.api.schemas.base import Problem
from apps.errors import Refused

View = TypeVar("View", bound=Callable[..., Any])
Run = Callable[..., HttpResponseBase]
_OFTEN = (401, 403, 404, 422, 429, 503)
_WRITING = (400, 402, 409, 410, 413, 415)
_MEDIA = {
    "body": ("application/json",),
    "form": ("multipart/form-data", "application/x-www-form-urlencoded"),
    "file": ("multipart/form-data", "application/x-www-form-urlencoded"),
}
BYTES = "application/octet-stream"


class Routes:
    """The routes of one noun."""

    def __init__(self, noun: str) -> None:
        self.router = Router(tags=[noun])

    def read(
        self,
        path: str,
        answer: Any,
        *,
        role: str | None = "viewer",
        cost: Route = Route.CHEAP,
        more: dict[int, Any] | None = None,
    ) -> Callable[[View], View]:
        """Declare a GET (and HEAD), for keys that may what ``role`` may; role None: for everybody, without a key."""
        codes = _OFTEN if role else ()  # nothing limits what is for everybody
        answers = {200: answer, 304: None, **dict.fromkeys(codes, Problem), **(more or {})}
        return self._declare(["GET", "HEAD"], path, answers, role, cost, {})

    def file(self, path: str, *, role: str = "viewer") -> Callable[[View], View]:
        """Declare a GET of a stored file: whole, in ranges, or by a redirect to the object store that has it."""
        more = {206: None, 302: None, 410: Problem, 416: None}
        extra = {"responses": dict.fromkeys((200, 206), _BINARY), "parameters": _RANGE}
        answers = {200: None, 304: None, **dict.fromkeys(_OFTEN, Problem), **more}
        return self._declare(["GET", "HEAD"], path, answers, role, Route.CHEAP, extra)

    def stream(self, path: str) -> Callable[[View], View]:
        """Declare a GET that answers Server-Sent Events."""
        extra = {"responses": {200: _EVENTS}}
        answers = {200: None, **dict.fromkeys(_OFTEN, Problem)}
        return self._declare(["GET"], path, answers, "viewer", Route.NORMAL, extra)

    def write(
        self,
        method: Literal["POST", "PATCH", "PUT", "DELETE"],
        path: str,
        answer: Any,
        *,
        role: str = "editor",
        status: int = 200,
        cost: Route = Route.NORMAL,
        takes_bytes: bool = False,
        secret: bool = False,
    ) -> Callable[[View], View]:
        """Declare what changes something. ``answer`` None is an empty one; ``takes_bytes``: the body is a file.

        A ``secret`` answer is kept nowhere, not even to be repeated.
        """
        answers = {status: answer, **dict.fromkeys((*_OFTEN, *_WRITING), Problem)}
        extra: dict[str, Any] = {"parameters": [_IDEMPOTENCY]} if method == "POST" else {}
        if takes_bytes:
            binary = {"schema": {"type": "string", "format": "binary"}}
            extra["requestBody"] = {"required": True, "content": {BYTES: binary}}
        return self._declare(
            [method], path, answers, role, cost, extra, status=status, takes_bytes=takes_bytes, secret=secret
        )

    def _declare(
        self,
        methods: list[str],
        path: str,
        answers: dict[int, Any],
        role: str | None,
        cost: Route,
        extra: dict[str, Any],
        status: int = 200,
        takes_bytes: bool = False,
        secret: bool = False,
    ) -> Callable[[View], View]:
        extra["x-role"] = role
        if role is not None:
            extra["security"] = [{"bearer": []}, {"header": []}]

        def decorate(view: View) -> View:
            summary, _, description = (view.__doc__ or view.__name__).partition("\n")
            through = partial(_through, role=role, cost=cost, takes_bytes=takes_bytes, secret=secret)
            self.router.add_api_operation(
                path,
                methods,
                decorate_view(through)(view),
                response=answers,
                summary=summary.rstrip("."),
                description=description.strip() or None,
                openapi_extra=extra,
                operation_id=view.__name__,
                url_name=view.__name__,
            )
            operation = cast(Any, view)._ninja_operation
            operation.view_func = _with_status(view, status)
            return view

        return decorate


_BINARY = {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}}
_EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
_RANGE = [
    {
        "in": "header",
        "name": "Range",
        "required": False,
        "schema": {"type": "string", "examples": ["bytes=0-99999"]},
        "description": "Which bytes are wanted; all of them when it is malformed.",
    }
]
_KEY = r"^[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?$"
_IDEMPOTENCY = {
    "in": "header",
    "name": idempotency.HEADER,
    "required": False,
    "schema": {"type": "string", "pattern": _KEY, "minLength": 1, "maxLength": 255},
    "description": "The same key with the same body within 24 hours gets the first answer again and does nothing.",
}


def _with_status(view: View, status: int) -> View:
    @wraps(view)
    def answered(request: HttpRequest, **values: Any) -> Any:
        result = view(request, **values)
        return result if isinstance(result, HttpResponseBase) else Status(status, result)

    return cast(View, answered)


def _through(run: Run, *, role: str | None, cost: Route, takes_bytes: bool, secret: bool) -> Run:
    operation = cast(Any, run).__self__
    sources = [model.__ninja_param_source__ for model in operation.models]
    media = (BYTES,) if takes_bytes else next((_MEDIA[source] for source in sources if source in _MEDIA), ())

    def produce(request: HttpRequest, path: dict[str, Any]) -> HttpResponseBase:
        response = run(request, **path)
        if secret:
            response["Cache-Control"] = "no-store"
        return response

    @wraps(run)
    def through_the_door(request: HttpRequest, **path: Any) -> HttpResponseBase:
        if role is None:
            return _with_etag(request, run(request, **path))
        headers: Mapping[str, str] = {}
        try:
            asked = cast(ApiRequest, request)
            asked.caller = auth.authenticate(request)
            headers = limits.enforce(asked.caller, cost).headers
            auth.require(asked.caller, role)
            _require_media(request, media)
            response = idempotency.answer_once(request, asked.caller, lambda: produce(request, path))
            response = _with_etag(request, response)
        except Refused as no:
            response = problems.refused(request, no)
        except RequestDataTooBig:  # while it was read for its Idempotency-Key
            response = problems.problem(request, status=413, message=problems.TOO_LARGE)
        for name, value in headers.items():
            response[name] = value
        return response

    return through_the_door


def _require_media(request: HttpRequest, media: tuple[str, ...]) -> None:
    if media and request.content_type not in media:
        raise Refused(f"Send the body as {media[0]}, and say so in Content-Type.", status=415)


def _with_etag(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Give JSON that was read its ETag, and answer 304 to whoever has it already."""
    if request.method not in ("GET", "HEAD") or response.status_code != 200 or response.streaming:
        return response
    if not response.has_header("ETag"):
        content: bytes = response.content  # type: ignore[attr-defined]  # it does not stream, so it has some
        response["ETag"] = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        response["Cache-Control"] = "private, no-cache"
    known = parse_etags(request.headers.get("If-None-Match", ""))
    if "*" in known or response["ETag"] in {etag.removeprefix("W/") for etag in known}:
        response.status_code = 304
        response.content = b""  # type: ignore[attr-defined]
        del response["Content-Type"]
    return response
