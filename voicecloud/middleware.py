"""Turns errors into answers, and gives each request an id for the log."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url

from apps import logs
from apps.accounts import keys
from apps.errors import Refused
from apps.jobs import faults
from voicecloud.errors import STORAGE_AWAY, say

log = logging.getLogger(__name__)
GetResponse = Callable[[HttpRequest], HttpResponse]


class ConnectionMiddleware:
    """Gives the database connection back before an answer is streamed: a slow reader would hold it to the last byte.

    The outermost of all, as others still save what they know of the session. Who asks the database while streaming
    gets a connection anew.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.streaming and not connection.in_atomic_block:
            connection.close()
        return response


class RequestIdMiddleware:
    """Gives each request a fresh id, in the log and in the ``X-Request-ID`` answer header."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        code = uuid.uuid4().hex
        request.request_id = code  # type: ignore[attr-defined]  # the page of a fault of ours shows it
        # Never set back: Django logs a 4xx after all middleware, and the next request sets its own.
        logs.request_id.set(code)
        logs.workspace.set(logs.NOBODY)
        keys.in_use.set(None)
        response = self.get_response(request)
        response["X-Request-ID"] = code
        return response


class PermissionsPolicyMiddleware:
    """Lets this site's own pages use the microphone and nothing else of the device."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["Permissions-Policy"] = "microphone=(self), camera=(), geolocation=(), payment=(), usb=()"
        return response


class HtmxRedirectMiddleware:
    """Lets views redirect as ever: the browser follows a redirect inside an htmx request before htmx sees it.

    So htmx is told to go there itself. Who has to log in again reloads the page they are on: the address of a
    fragment is no place to come back to. A place on the page itself is reloaded too: going to it would change nothing.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if not getattr(request, "htmx", False) or response.status_code not in (301, 302, 303):
            return response
        target = response["Location"]
        to_log_in = urlsplit(target).path == resolve_url(settings.LOGIN_URL)
        here = (request.htmx.current_url_abs_path or "").partition("#")[0]  # type: ignore[attr-defined]
        del response["Location"]
        response.status_code = 200
        response.content = b""
        if to_log_in or here == target.partition("#")[0]:
            response["HX-Refresh"] = "true"
        else:
            response["HX-Redirect"] = target
        return response


class RefusedMiddleware:
    """Answers an expected no with its sentence: a fragment to htmx, JSON to a program, else a page.

    So too when the object store is away: that passes by itself, and whoever asks is told to try again (503).
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, Refused):
            response = say(request, exception.message, status=exception.status, page="refused.html", refused=exception)
            for name, value in exception.headers.items():
                response[name] = value
            return response
        if faults.passing(exception) == faults.STORAGE:
            log.error("the storage is away", exc_info=exception)
            return say(request, STORAGE_AWAY, status=503, page="refused.html")
        return None
