"""What can go wrong. All of it is a ``VoicecloudError``; what the API says no to is an ``ApiError`` of its type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voicecloud_client.models import Job


class VoicecloudError(Exception):
    """Anything that this package raises; its text is a sentence for people."""


class ConnectionFailed(VoicecloudError):
    """The server could not be reached, or did not answer in time, also after trying again."""


class UnexpectedAnswer(VoicecloudError):
    """The answer is not one that this version of the client knows."""


class DamagedFile(VoicecloudError):
    """What was downloaded is not what is stored; nothing of it was kept."""


class StillRunning(VoicecloudError):
    """A job did not end within the time that was given; it goes on."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"“{job.title}” is still {job.status}.")
        self.job = job


class JobFailed(VoicecloudError):
    """A job that was waited for failed or was cancelled; ``job`` says why."""

    def __init__(self, job: Job) -> None:
        why = job.message or ("It was cancelled." if job.status == "cancelled" else "It failed.")
        super().__init__(f"{job.title}: {why}")
        self.job = job


@dataclass(frozen=True)
class Fault:
    """The one shape in which the API says no."""

    type: str
    code: str
    message: str
    param: str | None
    request_id: str


class ApiError(VoicecloudError):
    """The API said no."""

    def __init__(self, fault: Fault, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(fault.message)
        self.status = status
        self.type, self.code, self.message = fault.type, fault.code, fault.message
        self.param, self.request_id = fault.param, fault.request_id
        self.retry_after = retry_after  # seconds, where the answer told

    def as_json(self) -> dict[str, Any]:
        """Return what the API answered."""
        names = ("type", "code", "message", "param", "request_id")
        return {name: getattr(self, name) for name in names}


class InvalidRequest(ApiError):
    """400: the request could not be read."""


class AuthenticationFailed(ApiError):
    """401: no key, or one that opens nothing."""


class QuotaExceeded(ApiError):
    """402: the plan's allowance, or the key's own cap, is used up."""


class PermissionDenied(ApiError):
    """403: the key's scope or its owner's role does not allow it, or no consent is in force."""


class NotFound(ApiError):
    """404: nothing there, or nothing that this key can see."""


class MethodNotAllowed(ApiError):
    """405: the address does not take this method; the server is another version."""


class Conflict(ApiError):
    """409: as things stand it cannot be done; the sentence says why."""


class Gone(ApiError):
    """410: the file has expired."""


class TooLarge(ApiError):
    """413: more was sent than is taken."""


class UnsupportedMediaType(ApiError):
    """415: the body is of another kind than expected."""


class RangeNotSatisfiable(ApiError):
    """416: no such bytes."""


class ValidationFailed(ApiError):
    """422: a field is wrong (``param`` names it), or a file is no usable sound."""


class RateLimited(ApiError):
    """429: too many requests, also after waiting."""


class ServerError(ApiError):
    """500: a fault of the server, which was logged there under ``request_id``."""


class NotImplementedYet(ApiError):
    """501: the server has no such thing yet."""


class Unavailable(ApiError):
    """503: the server cannot do it now, also after trying again."""


TYPES: dict[str, type[ApiError]] = {
    "invalid_request": InvalidRequest,
    "authentication": AuthenticationFailed,
    "quota_exceeded": QuotaExceeded,
    "permission": PermissionDenied,
    "not_found": NotFound,
    "method_not_allowed": MethodNotAllowed,
    "conflict": Conflict,
    "gone": Gone,
    "too_large": TooLarge,
    "unsupported_media_type": UnsupportedMediaType,
    "range_not_satisfiable": RangeNotSatisfiable,
    "validation": ValidationFailed,
    "rate_limited": RateLimited,
    "server_error": ServerError,
    "not_implemented": NotImplementedYet,
    "unavailable": Unavailable,
}
