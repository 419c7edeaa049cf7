"""What the API is, for people and for programs: both from the routes themselves."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.api.site import api
from apps.api.version import version


@cache
def _document() -> dict[str, Any]:
    return api.document()


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """The OpenAPI 3.1 document."""
    return JsonResponse(_document())


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """The same as a page."""
    return render(request, "api/docs.html", {"nouns": _nouns(), "version": version()})


@cache
def _nouns() -> dict[str, list[dict[str, Any]]]:
    """Return the operations by noun, as the page shows them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, operations in _document()["paths"].items():
        for method, operation in operations.items():
            found.setdefault(operation["tags"][0], []).append(_shown(path, method, operation))
    return found


def _shown(path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    answers = [
        {"status": status, **_body(answer)} for status, answer in operation["responses"].items() if int(status) < 400
    ]
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": operation.get("description", ""),
        "role": operation["x-role"],
        "parameters": [one for one in operation["parameters"] if one["in"] != "path"],
        "body": _body(operation["requestBody"]) if "requestBody" in operation else None,
        "answers": answers,
        "refusals": [status for status in operation["responses"] if int(status) >= 400],
    }


def _body(part: dict[str, Any]) -> dict[str, Any]:
    """Return the media type of a body and its fields; neither for an empty one."""
    bodies: dict[str, Any] = part.get("content", {})
    media = next(iter(bodies), "")
    schema = bodies[media].get("schema", {}) if media else {}
    fields = list(_fields(schema))
    return {"media": media, "name": _name(schema), "fields": fields}


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        found: dict[str, Any] = _document()["components"]["schemas"][_name(schema)]
        return found
    return schema


def _name(schema: dict[str, Any]) -> str:
    return str(schema.get("$ref", "")).rsplit("/", 1)[-1]


def _fields(schema: dict[str, Any]) -> Any:
    whole = _resolved(schema)
    for name, field in whole.get("properties", {}).items():
        yield {
            "name": name,
            "type": _type(field),
            "required": name in whole.get("required", []),
            "description": field.get("description", ""),
        }


def _type(schema: dict[str, Any]) -> str:
    """Return a field's type in words."""
    if "$ref" in schema:
        return _name(schema)
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    words = str(schema.get("format") or schema.get("type", "any"))
    low, high = schema.get("minimum"), schema.get("maximum")
    return f"{words}, {low:g} to {high:g}" if low is not None and high is not None else words
