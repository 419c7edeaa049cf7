"""The only door into a workspace for programs: an API key in one of three headers -> ``Caller``, or 401 / 403."""

from __future__ import annotations

from django.http import HttpRequest

from apps import logs
from apps.accounts import keys
from apps.accounts.keys import Caller
from apps.api import throttle
from apps.errors import Refused

HEADERS = ("X-API-Key", "xi-api-key")
UNKNOWN = "This API key is not known, was revoked or has expired. Make one under API keys in your workspace."
CHALLENGE = 'Bearer realm="voicecloud"'
MISSING = "Send an API key, as `Authorization: Bearer vc_...` or `X-API-Key: vc_...`."


class ApiRequest(HttpRequest):
    """A request that came through the door."""

    caller: Caller


def token_of(request: HttpRequest) -> str:
    """Return the key that a request carries, or nothing."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and value.strip():
        return value.strip()
    return next((found.strip() for name in HEADERS if (found := request.headers.get(name))), "")


def authenticate(request: HttpRequest) -> Caller:
    """Return who stands behind the request's key, and let all that follows be counted and logged as theirs.

    Raises Refused: 401 without a key that opens a workspace, 429 to an address that sent many of those.
    """
    token = token_of(request)
    if not token:
        raise Refused(MISSING, status=401, headers={"WWW-Authenticate": CHALLENGE})
    throttle.admit(request, token)
    caller = keys.caller_of(token)
    if caller is None:
        throttle.failed(request, token)
        raise Refused(UNKNOWN, status=401, headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'})
    throttle.accepted(token)
    logs.workspace.set(caller.workspace.slug)
    keys.in_use.set(caller.key)
    return caller


def require(caller: Caller, role: str) -> None:
    """Raise Refused (403) unless the key may do what members of ``role`` may."""
    if not caller.may(role):
        raise Refused(f"This needs a key whose scope and owner allow what the role {role} may.", status=403)
