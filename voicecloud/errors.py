"""How every no and every fault is answered: a page to a browser, a fragment to htmx, JSON to a program."""

from __future__ import annotations

import sys
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.csrf import requires_csrf_token

from apps.api import problems
from apps.api.compat.answers import no_to
from apps.billing.errors import QuotaExceeded
from apps.errors import Refused
from apps.jobs import faults

BAD_REQUEST = "The site could not read what was sent. Load the page again and try once more."
FORBIDDEN = "Your role in this workspace does not allow this."
NOT_FOUND = "There is no such page, or it belongs to a workspace you are not a member of."
CSRF = "This page was open for too long. Load it again and repeat what you did."
STORAGE_AWAY = "The storage of files cannot be reached right now; try again in a minute."
OUR_FAULT = "Something went wrong on our side. It has been logged; try again in a moment."
AWAY = "A part of the site cannot be reached right now. It has been logged; try again in a minute."
AWAY_SECONDS = 30

# The compatible APIs, whose SDKs accept anything.
FOR_SDKS = ("/v1/", "/v2/")


def wants_json(request: HttpRequest) -> bool:
    """Say whether a program asks that accepts JSON and no page."""
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def say(request: HttpRequest, message: str, *, status: int, page: str, refused: Refused | None = None) -> HttpResponse:
    """Answer with ``message`` and ``status`` in the form that the asker reads; ``page`` is the browser's template.

    ``refused`` is the no itself, where it is one: what a plan has no room for is told with its figures.
    """
    code = getattr(request, "request_id", "")
    if problems.is_api(request):
        return problems.problem(request, status=status, message=message)
    if request.path.startswith(FOR_SDKS):
        return no_to(request, refused or Refused(message, status=status))
    if wants_json(request):
        return JsonResponse({"message": message, "request_id": code, **_figures(refused)}, status=status)
    context = {"message": message, "refused": refused}
    if request.headers.get("HX-Request") == "true":
        return render(request, "_refused.html", context, status=status)
    return render(request, page, {**context, "request_id": code}, status=status)


def _figures(refused: Refused | None) -> dict[str, Any]:
    if not isinstance(refused, QuotaExceeded):
        return {}
    return {
        "code": "quota_exceeded",
        "meter": refused.meter,
        "wanted": refused.wanted,
        "left": refused.left,
        "resets_at": refused.resets_at,
    }


@requires_csrf_token
def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """400: malformed or oversized in a way that no form of ours sends."""
    message = problems.UNREADABLE if problems.is_api(request) or request.path.startswith(FOR_SDKS) else BAD_REQUEST
    return say(request, message, status=400, page="400.html")


@requires_csrf_token
def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """403: a member without the right."""
    return say(request, FORBIDDEN, status=403, page="403.html")


@requires_csrf_token
def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """404: nothing there, or nothing for a stranger; the two look the same."""
    message = problems.NO_ADDRESS if problems.is_api(request) else NOT_FOUND
    return say(request, message, status=404, page="404.html")


@requires_csrf_token
def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 before any view: the form's token is missing or old."""
    return say(request, CSRF, status=403, page="403_csrf.html")


@requires_csrf_token
def our_fault(request: HttpRequest) -> HttpResponse:
    """500 with the id that the log has. Needs neither database nor session, which may be what failed.

    503 where it is the database or Redis that is away: that passes by itself, and a program knows to come again.
    """
    fault = sys.exc_info()[1]
    if fault is not None and faults.passing(fault) in (faults.DATABASE, faults.QUEUE):
        answer = _said_alone(request, AWAY, status=503)
        answer["Retry-After"] = str(AWAY_SECONDS)
        return answer
    return _said_alone(request, OUR_FAULT, status=500)


def _said_alone(request: HttpRequest, message: str, *, status: int) -> HttpResponse:
    code = getattr(request, "request_id", "")
    if problems.is_api(request):
        return problems.problem(request, status=status, message=message)
    if request.path.startswith(FOR_SDKS):
        return no_to(request, Refused(message, status=status))
    if wants_json(request):
        return JsonResponse({"message": message, "request_id": code}, status=status)
    if request.headers.get("HX-Request") == "true":
        message = f"{message} Error id {code}."
        return HttpResponse(render_to_string("_refused.html", {"message": message}), status=status)
    page = render_to_string("500.html", {"request_id": code, "away": status == 503})
    return HttpResponse(page, status=status)
