"""The one shape in which the API says no: ``{"error": {"type", "code", "message", "param", "request_id"}}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, JsonResponse
from ninja.errors import HttpError, ValidationError

from apps.errors import Refused

PREFIX = "/api/"
# Status -> what kind of no it is, for programs; ``code`` is finer where more is known.
TYPES = {
    400: "invalid_request",
    401: "authentication",
    402: "quota_exceeded",
    403: "permission",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "gone",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "validation",
    429: "rate_limited",
    500: "server_error",
    501: "not_implemented",
    503: "unavailable",
}
NOT_FOUND = "There is nothing here that this key can see."
_FIELD = re.compile(r"[\w-]+")
_ALL_OF_IT = (["given"], ["wanted"], ["paging"])
NO_ADDRESS = "The API has no such address; all of them are at /api/v1/docs."
UNREADABLE = "The request could not be read; send well-formed headers, fields and files."
NOT_ALLOWED = "This address does not take this method; see the header Allow."
MALFORMED = "The body could not be read; send well-formed JSON."
TOO_LARGE = "The body is larger than this address takes."


class Invalid(Refused):
    """A no about one field of what was sent; ``param`` is its name."""

    def __init__(self, message: str, *, param: str, status: int = 422) -> None:
        super().__init__(message, status=status)
        self.param = param


def is_api(request: HttpRequest) -> bool:
    """Say whether the request's answers have the shape of this module."""
    return request.path.startswith(PREFIX)


def body_of(*, status: int, message: str, code: str = "", param: str | None = None, request_id: str = "") -> Any:
    """Return the JSON of a no."""
    kind = TYPES.get(status, TYPES[500] if status >= 500 else TYPES[400])
    error = {"type": kind, "code": code or kind, "message": message, "param": param, "request_id": request_id}
    return {"error": error}


def problem(
    request: HttpRequest,
    *,
    status: int,
    message: str,
    code: str = "",
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JsonResponse:
    """Answer with a no."""
    request_id = getattr(request, "request_id", "")
    body = body_of(status=status, message=message, code=code, param=param, request_id=request_id)
    return JsonResponse(body, status=status, headers={**(headers or {})})


def refused(request: HttpRequest, no: Refused) -> JsonResponse:
    """Answer an expected no, with the headers that it has."""
    param = no.param if isinstance(no, Invalid) else None
    return problem(request, status=no.status, message=no.message, param=param or None, headers=no.headers)


def invalid(request: HttpRequest, error: ValidationError) -> JsonResponse:
    """Answer 422 about the first field that is wrong."""
    first = error.errors[0]
    # Where it was found: the kind of parameter, the view's own name for all of it, fields, which of several types.
    place = [str(part) for part in first["loc"][1:] if _FIELD.fullmatch(str(part))]
    param = ".".join(place[1:] if place[:1] in _ALL_OF_IT else place)
    what = str(first["msg"]).rstrip(".")
    message = f"{param}: {what}." if param else f"{what}."
    return problem(request, status=422, message=message, code=str(first["type"]), param=param or None)


def malformed(request: HttpRequest, error: HttpError) -> JsonResponse:
    """Answer what the framework says no to by itself: a body that is no JSON."""
    message = MALFORMED if error.status_code == 400 else error.message
    return problem(request, status=error.status_code, message=message)
