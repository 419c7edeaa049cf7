"""Every no of the compatible APIs in the shape that its SDK reads; what is told here is told nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, JsonResponse

from apps.api.auth import MISSING
from apps.errors import Refused

# What ElevenLabs calls it in ``detail.status``, by our status.
_WORDS = {
    400: "bad_request",
    401: "invalid_api_key",
    402: "quota_exceeded",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "gone",
    413: "file_too_large",
    422: "invalid_content",
    429: "too_many_requests",
    500: "internal_server_error",
    501: "not_implemented",
    503: "service_unavailable",
}
# Their servers say 401 when the quota is spent, and their SDKs repeat a request after 409, which mends no name that is
# taken: both are told by other statuses than ours.
_STATUSES = {402: 401, 409: 400}
# OpenAI's ``code`` by our status.
_CODES = {401: "invalid_api_key", 402: "insufficient_quota", 404: "not_found", 429: "rate_limit_exceeded"}


class No(Refused):
    """An expected no in the compatible APIs' own words: ``word`` is ElevenLabs' ``detail.status``; its status is final.

    ``field`` is the field of the request that is wrong, which makes it one of their validation errors.
    """

    def __init__(
        self, message: str, *, status: int, word: str = "", field: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, status=status, headers=headers)
        self.word = word or _WORDS[status]
        self.field = field


def speaks_openai(request: HttpRequest) -> bool:
    """Say whether OpenAI's SDK asks: it sends a bearer token and ``X-Stainless-Lang``, ElevenLabs' ``xi-api-key``.

    What both send (``GET /v1/models``) and what neither knows is answered accordingly.
    """
    if "xi-api-key" in request.headers:
        return False
    return request.headers.get("Authorization", "").lower().startswith("bearer") or (
        "X-Stainless-Lang" in request.headers
    )


def no_to(request: HttpRequest, refused: Refused) -> JsonResponse:
    """Return the answer to an expected no, as the asker's SDK reads it."""
    about_speech = request.path.startswith("/v1/audio/")
    answer = to_openai(refused) if about_speech or speaks_openai(request) else to_elevenlabs(refused)
    for name, value in refused.headers.items():
        answer[name] = value
    return answer


def to_elevenlabs(refused: Refused) -> JsonResponse:
    """Return ``{"detail": {"status", "message"}}``, or a list of what is wrong with which field (422)."""
    detail: Any
    if isinstance(refused, No):
        status, word = refused.status, refused.word
    else:
        status, word = _STATUSES.get(refused.status, refused.status), _WORDS.get(refused.status, "refused")
    if isinstance(refused, No) and refused.field:
        detail = [{"loc": refused.field.split("."), "msg": refused.message, "type": refused.word}]
    else:
        word = "needs_authorization" if refused.message == MISSING else word
        detail = {"status": word, "message": refused.message}
    return JsonResponse({"detail": detail}, status=status)


def to_openai(refused: Refused) -> JsonResponse:
    """Return ``{"error": {"message", "type", "param", "code"}}``; a spent quota is 429 with ``insufficient_quota``."""
    code = _CODES.get(refused.status)
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    if refused.status in (402, 429):
        kind = code or kind
    field = refused.field.rpartition(".")[2] if isinstance(refused, No) else ""
    error = {"message": refused.message, "type": kind, "param": field or None, "code": code}
    answer = JsonResponse({"error": error}, status=429 if refused.status == 402 else refused.status)
    if refused.status in (402, 501):
        answer["x-should-retry"] = "false"  # asking again changes nothing
    return answer
