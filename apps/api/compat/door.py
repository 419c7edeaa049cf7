"""The one way into the compatible APIs: an address knows its methods, and each view is behind ``call``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from apps.api import limits
from apps.api.auth import ApiRequest, authenticate
from apps.api.compat.answers import No, no_to
from apps.api.limits import Route
from apps.api.problems import TOO_LARGE
from apps.errors import Refused

View = Callable[..., Any]
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")  # and halves of characters, which JSON can write
NO_RIGHT = "This needs a key whose scope and owner allow what the role {role} may."


def enter(request: HttpRequest, role: str, cost: Route) -> dict[str, str]:
    """Let the request in as the caller behind its key and return the headers about its limits.

    Every view of the compatible APIs comes through here. Raises Refused: 401 unknown, 403 it may less, 429 too often.
    """
    caller = authenticate(request)
    headers = limits.enforce(caller, cost).headers
    if not caller.may(role):
        raise No(NO_RIGHT.format(role=role), status=403, word="missing_permissions", headers=headers)
    request.caller = caller  # type: ignore[attr-defined]  # from here on it is an ApiRequest
    return headers


def call(role: str, cost: Route = Route.CHEAP) -> Callable[[View], View]:
    """Let keys that may do what ``role`` may through to the view, and answer each no as the asker's SDK reads it.

    ``cost`` is what the rate limits count the request as.
    """

    def decorate(view: View) -> View:
        if iscoroutinefunction(view):

            @wraps(view)
            async def answered_later(request: HttpRequest, **kwargs: Any) -> Any:
                headers: dict[str, str] = {}
                try:
                    headers = await sync_to_async(enter)(request, role, cost)
                    return _with(headers, await view(request, **kwargs))
                except Refused as refused:
                    return _with(headers, no_to(request, refused))
                except RequestDataTooBig:
                    return _with(headers, no_to(request, Refused(TOO_LARGE, status=413)))

            return answered_later

        @wraps(view)
        def answered(request: HttpRequest, **kwargs: Any) -> Any:
            headers: dict[str, str] = {}
            try:
                headers = enter(request, role, cost)
                return _with(headers, view(request, **kwargs))
            except Refused as refused:
                return _with(headers, no_to(request, refused))
            except RequestDataTooBig:
                return _with(headers, no_to(request, Refused(TOO_LARGE, status=413)))

        return answered

    return decorate


def _with(headers: dict[str, str], answer: HttpResponseBase) -> HttpResponseBase:
    for name, value in headers.items():
        answer.headers.setdefault(name, value)
    return answer


def address(**views: View) -> View:
    """Return the view of an address that answers these methods: either all of its views wait, or none does."""
    later = {iscoroutinefunction(view) for view in views.values()}
    if len(later) != 1:
        raise TypeError("an address has either views that wait or views that do not")
    allowed = [*views, *(["HEAD"] if "GET" in views else [])]

    def chosen(request: HttpRequest) -> View | None:
        return views.get("GET" if request.method == "HEAD" else request.method or "")

    def not_allowed(request: HttpRequest) -> HttpResponse:
        message = f"This address takes {', '.join(allowed)}, not {request.method}."
        return no_to(request, No(message, status=405, headers={"Allow": ", ".join(allowed)}))

    if later == {True}:

        async def wait(request: HttpRequest, **kwargs: Any) -> Any:
            view = chosen(request)
            return await view(request, **kwargs) if view else not_allowed(request)

        return csrf_exempt(wait)  # a key is no cookie: no other site can send it

    def answer(request: HttpRequest, **kwargs: Any) -> Any:
        view = chosen(request)
        return view(request, **kwargs) if view else not_allowed(request)

    return csrf_exempt(answer)


def json_of(request: ApiRequest) -> dict[str, Any]:
    """Return the JSON object that the request brings. Raises No (422) for anything else."""
    try:
        found = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):  # the latter: brackets in brackets, thousands deep
        found = None
    if not isinstance(found, dict):
        raise No("Send a JSON object.", status=422, word="json_invalid", field="body")
    return found


def line(text: str, *, field: str) -> str:
    """Return a text that is one line: no database takes NUL, no page shows controls. Raises No (422)."""
    if _CONTROLS.search(text):
        raise No(
            "Leave out line breaks and control characters.", status=422, word="string_pattern_mismatch", field=field
        )
    return text


def yes_or_no(value: str | None, *, usual: bool, field: str) -> bool:
    """Return what a form's or query's true or false means; ``usual`` when it is absent. Raises No (422)."""
    if value is None or value == "":
        return usual
    word = value.lower()
    if word not in ("true", "false", "1", "0"):
        raise No(f"“{value}” is neither true nor false.", status=422, word="bool_parsing", field=field)
    return word in ("true", "1")


def whole(value: str | None, *, usual: int, least: int, most: int, field: str) -> int:
    """Return a whole number of a form or query; ``usual`` when it is absent. Raises No (422) outside its range."""
    if value is None or value == "":
        return usual
    is_short = len(value) <= 20  # longer ones are out of every range, and take long to read
    number = int(value) if is_short and value.isascii() and value.removeprefix("-").isdigit() else None
    if number is None or not least <= number <= most:
        raise No(f"Send a whole number from {least} to {most}.", status=422, word="int_parsing", field=field)
    return number
