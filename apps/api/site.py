"""The API as one thing: its routes, its document, and how it says no."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import URLPattern, URLResolver
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.responses import NinjaJSONEncoder

from apps.api import problems
from apps.api.routes import consents, conversions, jobs, models, recordings, system, usage, voices, webhooks, workspace
from apps.api.version import version
from apps.errors import Refused

DESCRIPTION = (
    "Everything that the pages can do, for programs. A key opens one workspace, as the member who made it, with the "
    "lesser of the key's scope and that member's role."
)
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer vc_...`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class Site(NinjaAPI):
    """django-ninja's API with this site's own way to say no, also to a method that an address does not take."""

    def _get_urls(self) -> list[URLResolver | URLPattern]:
        patterns = super()._get_urls()
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                pattern.callback = _told(pattern.callback)
        return patterns

    def document(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        text = json.dumps(self.get_openapi_schema(), cls=NinjaJSONEncoder)
        # A page of voices is called after what is on it.
        found: dict[str, Any] = json.loads(re.sub(r"\bPage_(\w+?)_", r"\1Page", text))
        for operations in found["paths"].values():
            operations.pop("head", None)  # each GET can be asked for its headers alone: HTTP says so already
            for operation in operations.values():
                _without_null(operation.get("requestBody", {}).get("content", {}))
        found["components"] = {**found["components"], "securitySchemes": SECURITY}
        return found


def _without_null(bodies: dict[str, Any]) -> None:
    """Take null out of the fields of forms, which can only be left out."""
    for media, body in bodies.items():
        if media == "application/json":
            continue
        for field in body["schema"].get("properties", {}).values():
            kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
            if len(kinds) == 1:
                del field["anyOf"]
                field.update(kinds[0])
            elif kinds:
                field["anyOf"] = kinds
            if field.get("default", 0) is None:
                del field["default"]


def _told(view: Callable[..., Any]) -> Callable[..., HttpResponseBase]:
    @wraps(view)
    def told(request: HttpRequest, **path: Any) -> HttpResponseBase:
        response: HttpResponseBase = view(request, **path)
        if response.status_code != 405:
            return response
        headers = {"Allow": response["Allow"]}
        return problems.problem(request, status=405, message=problems.NOT_ALLOWED, headers=headers)

    return told


api = Site(
    title="voicecloud",
    version=version(),
    description=DESCRIPTION,
    openapi_url=None,
    docs_url=None,
    urls_namespace="rest:v1",
)


@api.exception_handler(Refused)
def _refused(request: HttpRequest, no: Any) -> HttpResponseBase:
    return problems.refused(request, no)


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: Any) -> HttpResponseBase:
    return problems.invalid(request, error)


@api.exception_handler(HttpError)
def _malformed(request: HttpRequest, error: Any) -> HttpResponseBase:
    return problems.malformed(request, error)


@api.exception_handler(Http404)
def _not_found(request: HttpRequest, error: Any) -> HttpResponseBase:
    return problems.problem(request, status=404, message=problems.NOT_FOUND)


@api.exception_handler(RequestDataTooBig)
def _too_large(request: HttpRequest, error: Any) -> HttpResponseBase:
    return problems.problem(request, status=413, message=problems.TOO_LARGE)


@api.exception_handler(Exception)
def _fault(request: HttpRequest, error: Any) -> HttpResponseBase:
    raise error  # a fault of ours, which the site's own middleware tells and logs


for module in (workspace, voices, recordings, consents, models, conversions, jobs, usage, webhooks, system):
    api.add_router("", module.routes.router)
