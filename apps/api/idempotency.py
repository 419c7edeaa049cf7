"""Asking again without doing it twice: the ``Idempotency-Key`` header of POST requests.

Who sends one gets the same answer for a day, however often the request is repeated: a program that heard nothing can
just ask again. Exactly one of requests that come at once is carried out, as a row in the database is unique.

- The key belongs to the API key that used it first, to one address and one body; anything else with it is refused.
- Kept are answers that a repetition should get again. Of refusals that may pass (no allowance, too early, too many, in
  use, away) nothing is kept: nothing was done, and the same key may try again.
- After any other fault nobody knows how far the request had come: what it made may be there without its answer. A
  repetition is told to look (409) instead of making it once more.
- An answer that is streamed, too large, or says ``no-store`` is not kept either, but the request was carried out: a
  repetition is told so (409) instead of carrying it out once more.
- A process that died has left a row that runs; after ``TAKEN_OVER_AFTER`` the next repetition takes it over.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from apps.accounts import sealing
from apps.accounts.keys import Caller
from apps.api.models import ApiCall, State
from apps.errors import Refused

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEPT_FOR = timedelta(days=1)
TAKEN_OVER_AFTER = timedelta(minutes=10)  # longer than any request takes
BODY_BYTES_MAX = 256 * 1024
REMOVED_AT_ONCE = 500
REMOVED_IN_A_ROUND = 20_000
PURPOSE = "api answer"
_PASSING = {402, 408, 409, 423, 425, 429, 503}
_KEPT_HEADERS = ("Content-Type", "Location", "ETag", "Last-Modified", "Content-Language", "Content-Disposition")
_SOON = {"Retry-After": "2"}
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


def answer_once(request: HttpRequest, caller: Caller, produce: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """Return what ``produce`` answers, or what it answered when the same request came before.

    Without the header it just answers. Raises Refused: 400 for a key of the wrong form, 409 when the key was used for
    something else, is in use, or its answer was not kept; and whatever ``produce`` raises: of a ``Refused`` nothing is
    kept, of anything else that it happened.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST":
        return produce()
    if not _KEY.fullmatch(key):
        raise Refused(f"Send an {HEADER} of 1 to 255 printable ASCII characters, such as a UUID.", status=400)
    call, is_ours = claim(caller, key, request, fingerprint(request))
    if not is_ours:
        return _again(call)
    try:
        response = produce()
        _keep(call, response)
    except Refused:
        _forget(call)
        raise
    except BaseException:
        _end(call, status_code=500)
        raise
    return response


def fingerprint(request: HttpRequest) -> str:
    """Return the SHA-256 of what is asked: method, address, and the body; files are read in blocks, never whole.

    The boundary of a form with files is another one each time it is sent, so such a form counts by its fields.
    """
    digest = hashlib.sha256()
    for part in (request.method or "", request.get_full_path(), request.content_type or ""):
        _add(digest, part.encode())
    if request.content_type != "multipart/form-data":
        _add(digest, request.body)
        return digest.hexdigest()
    for name, values in sorted(request.POST.lists()):
        for value in values:
            _add(digest, name.encode())
            _add(digest, str(value).encode())
    for name, files in sorted(request.FILES.lists()):
        for file in files:
            _add_file(digest, name, file)
    return digest.hexdigest()


def _add_file(digest: hashlib._Hash, name: str, file: Any) -> None:
    for part in (name, file.name or "", file.content_type or "", str(file.size)):
        _add(digest, part.encode())
    for block in file.chunks():
        digest.update(block)
    file.seek(0)


def _add(digest: hashlib._Hash, part: bytes) -> None:
    # With its length, so that no two requests come to the same bytes.
    digest.update(len(part).to_bytes(8, "big") + part)


def claim(caller: Caller, key: str, request: HttpRequest, sha256: str) -> tuple[ApiCall, bool]:
    """Return the row of the key, and whether the request is ours to carry out. Raises Refused (409)."""
    now = timezone.now()
    about = {"method": request.method or "", "path": request.path[:500], "sha256": sha256}
    about |= {"api_key": caller.key}  # type: ignore[dict-item]  # a row among words
    try:
        with transaction.atomic():
            mine = ApiCall.objects.create(workspace=caller.workspace, key=key, claimed_at=now, created_at=now, **about)
        return mine, True
    except IntegrityError:
        call = ApiCall.objects.filter(workspace=caller.workspace, key=key).first()
    if call is None:  # it was given back at this moment
        raise Refused(f"A request with this {HEADER} has just ended; send it again.", status=409, headers=_SOON)
    if call.created_at <= now - KEPT_FOR:
        return _take_over(call, now, created_at=now, **about)
    if call.api_key_id != caller.key.pk or call.sha256 != sha256:
        raise Refused(
            f"This {HEADER} was used for another request. Make a new one for each request that is not a repetition.",
            status=409,
        )
    if call.state == State.RUNNING and call.claimed_at <= now - TAKEN_OVER_AFTER:
        return _take_over(call, now)
    return call, False


def _take_over(call: ApiCall, now: datetime, **about: object) -> tuple[ApiCall, bool]:
    """Make the row ours unless somebody else did at this moment. Raises Refused (409) then."""
    fresh = {"claim": uuid.uuid4(), "claimed_at": now, "state": State.RUNNING, **about}
    fresh |= {"status_code": None, "headers": {}, "is_kept": False, "sealed_body": ""}
    if not ApiCall.objects.filter(pk=call.pk, claim=call.claim, state=call.state).update(**fresh):
        raise _in_use()
    call.refresh_from_db()
    return call, True


def _in_use() -> Refused:
    return Refused(
        f"A request with this {HEADER} is being carried out; send it again for its answer.", status=409, headers=_SOON
    )


def _again(call: ApiCall) -> HttpResponse:
    if call.state == State.RUNNING:
        raise _in_use()
    if not call.is_kept and call.status_code is not None and call.status_code >= 500:
        raise Refused(
            f"The request with this {HEADER} met a fault of ours, so it may have made something all the same. Look for "
            "it; where there is nothing, send the request with a new key.",
            status=409,
        )
    if not call.is_kept:
        raise Refused(
            f"The request with this {HEADER} was carried out and answered {call.status_code}, but its answer is not "
            "kept. Look for what it made.",
            status=409,
        )
    body = base64.b64decode(sealing.unseal(call.sealed_body, purpose=PURPOSE))
    response = HttpResponse(body, status=call.status_code, headers=call.headers)
    response[REPLAYED] = "true"
    return response


def _keep(call: ApiCall, response: HttpResponseBase) -> None:
    """Write the answer down, unless the call was taken over meanwhile; forget what may be tried again."""
    if response.status_code in _PASSING:
        _forget(call)
        return
    body = _kept_body(response)
    _end(
        call,
        status_code=response.status_code,
        headers={name: response[name] for name in _KEPT_HEADERS if name in response},
        is_kept=body is not None,
        sealed_body="" if body is None else sealing.seal(base64.b64encode(body).decode(), purpose=PURPOSE),
    )


def _end(call: ApiCall, **answer: Any) -> None:
    ApiCall.objects.filter(pk=call.pk, claim=call.claim).update(state=State.DONE, **answer)


def _kept_body(response: HttpResponseBase) -> bytes | None:
    if response.status_code >= 500 or not isinstance(response, HttpResponse):
        return None
    if "no-store" in response.get("Cache-Control", ""):
        return None
    return response.content if len(response.content) <= BODY_BYTES_MAX else None


def _forget(call: ApiCall) -> None:
    ApiCall.objects.filter(pk=call.pk, claim=call.claim).delete()


def tidy() -> int:
    """Remove rows older than ``KEPT_FOR`` in small batches, a bounded number a round; say how many."""
    old = ApiCall.objects.filter(created_at__lt=timezone.now() - KEPT_FOR).order_by("created_at")
    removed = 0
    while removed < REMOVED_IN_A_ROUND:
        batch = list(old.values_list("pk", flat=True)[:REMOVED_AT_ONCE])
        if not batch:
            break
        # Asked again: a key that is used anew a day later is a new request.
        removed += ApiCall.objects.filter(pk__in=batch, created_at__lt=timezone.now() - KEPT_FOR).delete()[0]
    return removed
