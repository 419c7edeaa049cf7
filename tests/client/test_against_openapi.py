"""The client against the API's own document: a change of one without the other fails here."""

from __future__ import annotations

import email.message
import email.parser
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from uuid import UUID, uuid4

import httpx
import pytest

from apps.api import problems
from apps.api.site import api
from apps.api.version import version
from voicecloud_client import Client, __version__, errors, models, options, workspace_models
from voicecloud_client.decoding import hints
from voicecloud_client.nouns.noun import Noun

DOCUMENT = api.document()
SCHEMAS = DOCUMENT["components"]["schemas"]
ROOT = "/api/v1"
# Operations that the client leaves out, and why.
LEFT_OUT = {"stream_artifact": "the same bytes as download_artifact, for players in browsers"}
# Methods that send more than one request, each of which is another method's too.
SEVERAL = {"recordings.add_in_parts", "conversions.wait", "jobs.wait"}
# Parameters about the client's own doings.
OWN = {"progress", "timeout", "target", "sha256"}
TEXTS = {"uuid": UUID, "date-time": datetime, "date": date}
PLAIN = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}


def known(kind: Any) -> Any:
    """Return a type of the client in words that can be compared: unions and literals as sets."""
    if get_origin(kind) in (types.UnionType, typing.Union):
        return frozenset(part for each in get_args(kind) for part in parts(known(each)))
    if get_origin(kind) is Literal:
        return frozenset(get_args(kind))
    if get_origin(kind) in (list, dict):
        return (get_origin(kind), known(get_args(kind)[-1]))
    return kind.__name__ if is_dataclass(kind) else kind


def told(schema: dict[str, Any], *, given: bool) -> Any:
    """Return the same of a type of the document. Words that are ``given`` are texts: /info lists them."""
    if "$ref" in schema:
        return schema["$ref"].rsplit("/", 1)[1]
    if "anyOf" in schema:
        return frozenset(part for each in schema["anyOf"] for part in parts(told(each, given=given)))
    if "const" in schema:
        return frozenset([schema["const"]])
    if "enum" in schema and not given:
        return frozenset(schema["enum"])
    if schema["type"] == "array":
        return (list, told(schema["items"], given=given))
    if schema["type"] == "object":
        inner = schema["additionalProperties"]
        return (dict, Any if inner is True else told(inner, given=given))
    return TEXTS.get(schema.get("format", ""), PLAIN[schema["type"]])


def parts(kind: Any) -> frozenset[Any]:
    return kind if isinstance(kind, frozenset) else frozenset([kind])


def dataclasses_of(module: Any) -> dict[str, Any]:
    return {
        name: kind for name, kind in vars(module).items() if is_dataclass(kind) and kind.__module__ == module.__name__
    }


ANSWERS = {**dataclasses_of(models), **dataclasses_of(workspace_models)}
CHOICES = dataclasses_of(options)


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_what_is_answered_has_the_fields_and_types_of_the_document(name: str) -> None:
    schema = SCHEMAS[name]
    assert {field: known(kind) for field, kind in hints(ANSWERS[name]).items()} == {
        field: told(each, given=False) for field, each in schema["properties"].items()
    }
    required = {field.name for field in fields(ANSWERS[name]) if field.default is MISSING}
    assert required == set(schema["required"])
    assert ANSWERS[name].__dataclass_params__.frozen


@pytest.mark.parametrize("name", sorted(CHOICES))
def test_what_can_be_chosen_has_the_fields_types_and_defaults_of_the_document(name: str) -> None:
    schema = SCHEMAS[name]
    assert {field: known(kind) for field, kind in hints(CHOICES[name]).items()} == {
        field: told(each, given=True) for field, each in schema["properties"].items()
    }
    for field in fields(CHOICES[name]):
        if field.name in schema.get("required", []):
            assert field.default is MISSING
        else:
            assert field.default == schema["properties"][field.name].get("default")


def test_errors_are_those_of_the_api() -> None:
    assert set(errors.TYPES) == set(problems.TYPES.values())
    assert {field: known(kind) for field, kind in hints(errors.Fault).items()} == {
        field: told(each, given=False) for field, each in SCHEMAS["Fault"]["properties"].items()
    }
    stated = {kind: int((kind.__doc__ or "")[:3]) for kind in errors.TYPES.values()}
    assert {errors.TYPES[name]: status for status, name in problems.TYPES.items()} == stated


def test_the_client_has_the_version_of_the_newest_release() -> None:
    assert __version__ == version().rstrip("+")


# --- each method sends what the document takes, and understands what it answers


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    path: str
    spec: dict[str, Any]

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{\w+\}", "([^/]+)", self.path) + "$")

    @property
    def answer(self) -> dict[str, Any]:
        """Return the schema of what it answers, or nothing."""
        status = min(self.spec["responses"], key=int)
        content = self.spec["responses"][status].get("content", {})
        return next(iter(content.values()))["schema"] if content else {}


OPERATIONS = [
    Operation(spec["operationId"], method.upper(), path.removeprefix(ROOT), spec)
    for path, methods in DOCUMENT["paths"].items()
    for method, spec in methods.items()
]


def operation_of(request: httpx.Request) -> tuple[Operation, list[str]]:
    """Return the operation that a request is for, and what stands in its path."""
    path = request.url.path.removeprefix(ROOT)
    # A fixed word goes before a place for anything: /usage/events is no voice.
    found = [(each, each.pattern.match(path)) for each in OPERATIONS if each.method == request.method]
    fitting = [(each, list(match.groups())) for each, match in found if match]
    assert fitting, f"the API has no {request.method} {path}"
    return min(fitting, key=lambda one: len(one[1]))


def example(schema: dict[str, Any]) -> Any:
    """Return JSON as the schema describes it."""
    if "$ref" in schema:
        return example(SCHEMAS[schema["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema["type"] == "array":
        return [example(schema["items"])]
    if "properties" in schema:
        return {name: None if name == "next" else example(each) for name, each in schema["properties"].items()}
    if schema["type"] == "object":
        inner = schema["additionalProperties"]
        return {"one": 1 if inner is True else example(inner)}
    by_format = {"uuid": str(uuid4()), "date-time": "2026-11-21T10:00:00.5Z", "date": "2026-11-21"}
    return by_format.get(
        schema.get("format", ""), {"string": "text", "integer": 3, "number": 1, "boolean": True}.get(schema["type"])
    )


class Site(httpx.BaseTransport):
    """Answers each request as the document says, and remembers it."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        operation, _ = operation_of(request)
        status = int(min(operation.spec["responses"], key=int))
        schema = operation.answer
        if operation.id in ("watch_job", "watch_all"):
            job = json.dumps({**example({"$ref": "#/components/schemas/Job"}), "status": "done"})
            return httpx.Response(status, text=f"event: job.done\ndata: {job}\n\n")
        if schema.get("format") == "binary":
            return httpx.Response(status, stream=httpx.ByteStream(b"sound"))
        return httpx.Response(status, json=example(schema)) if schema else httpx.Response(status)


def methods() -> Iterator[tuple[str, Callable[..., Any]]]:
    with Client("http://site.example", "vc_key") as client:
        for noun, held in vars(client).items():
            if isinstance(held, Noun):
                for name, _ in inspect.getmembers(type(held), inspect.isfunction):
                    if not name.startswith("_"):
                        yield f"{noun}.{name}", getattr(held, name)


ALL = [name for name, _ in methods()]


def argument(kind: Any, name: str, folder: Path) -> Any:
    """Return some value of a type; of a dataclass one with every field chosen."""
    if name == "target":
        return folder / "target"
    chosen = next((each for each in get_args(kind) if each is not type(None)), None)
    if get_origin(kind) in (types.UnionType, typing.Union) and chosen is not None:
        return argument(chosen, name, folder)
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if is_dataclass(kind):
        return kind(**{field: argument(each, field, folder) for field, each in hints(kind).items()})  # type: ignore[operator]
    if kind is Path:
        (folder / "sound.wav").write_bytes(b"RIFF")
        return folder / "sound.wav"
    if get_origin(kind) is not None:  # a sequence
        return [argument(get_args(kind)[0], name, folder)]
    values = {
        UUID: uuid4(), str: "text", int: 7, float: 0.5, bool: True, bytes: b"bytes",
        datetime: datetime(2026, 11, 21, tzinfo=UTC), date: date(2026, 11, 21),
    }  # fmt: skip
    return values[kind]


def sent(request: httpx.Request) -> tuple[str, set[str]]:
    """Return the media type of a request's body and the names of its fields."""
    media = request.headers.get("Content-Type", "")
    if media.startswith("multipart/form-data"):
        head = f"Content-Type: {media}\r\n\r\n".encode()
        form: email.message.Message = email.parser.BytesParser().parsebytes(head + request.content)
        names = {str(part.get_param("name", header="content-disposition")) for part in form.get_payload()}  # type: ignore[union-attr]
        return "multipart/form-data", names
    return media, set(json.loads(request.content)) if media == "application/json" else set()


def called(name: str, folder: Path) -> tuple[Site, dict[str, Any], Any, Any]:
    """Call a method with everything that it takes; return the site, what was given, the result and its type."""
    site = Site()
    noun, _, method_name = name.partition(".")
    with Client("http://site.example", "vc_key", transport=site) as client:
        method = getattr(getattr(client, noun), method_name)
        wanted = typing.get_type_hints(method)
        kind = wanted.pop("return")
        given = {each: argument(hint, each, folder) for each, hint in wanted.items() if each not in OWN - {"target"}}
        result = method(**given)
        if isinstance(result, Iterator):
            result, kind = next(result), get_args(kind)[0]
    return site, given, result, kind


@pytest.mark.parametrize("name", [name for name in ALL if name not in SEVERAL])
def test_a_method_sends_all_that_its_operation_takes_and_nothing_else(name: str, tmp_path: Path) -> None:
    site, given, result, kind = called(name, tmp_path)
    (request,) = site.requests
    operation, places = operation_of(request)
    assert places == [str(given[place]) for place in re.findall(r"\{(\w+)\}", operation.path)]
    _same_query(request, operation)
    _same_body(request, operation)
    assert ("Idempotency-Key" in request.headers) == (operation.method == "POST")
    assert request.headers["Authorization"] == "Bearer vc_key"
    _same_answer(result, kind, operation)


def _same_query(request: httpx.Request, operation: Operation) -> None:
    takes = {each["name"] for each in operation.spec["parameters"] if each["in"] == "query"}
    assert set(request.url.params) == takes - {"cursor"}  # there is none for the first page


def _same_body(request: httpx.Request, operation: Operation) -> None:
    content = operation.spec.get("requestBody", {}).get("content", {})
    media, names = sent(request)
    assert {media} == (set(content) or {""})
    if content and media != "application/octet-stream":
        schema = content[media]["schema"]
        schema = SCHEMAS[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
        assert names == set(schema["properties"])
        if media == "application/json" and "options" in names:
            assert set(json.loads(request.content)["options"]) == set(SCHEMAS["Options"]["properties"])


def _same_answer(result: Any, kind: Any, operation: Operation) -> None:
    schema = operation.answer
    if not schema:
        assert (result, kind) == (None, type(None))
    elif schema.get("format") == "binary":
        assert kind is Path
        assert result.read_bytes() == b"sound"
    elif operation.id in ("watch_job", "watch_all"):
        assert (kind, result.status) == (models.Job, "done")
    else:
        items = SCHEMAS.get(schema.get("$ref", "").rsplit("/", 1)[-1], {}).get("properties", {})
        page = items["items"]["items"] if set(items) == {"items", "next"} else schema
        assert known(kind) == told(page, given=False)
        assert result is not None


def test_every_operation_has_its_method_or_a_reason(tmp_path: Path) -> None:
    sites = [called(name, tmp_path)[0] for name in ALL if name not in SEVERAL]
    reached = {operation_of(site.requests[0])[0].id for site in sites}
    assert {each.id for each in OPERATIONS} - reached == set(LEFT_OUT)
    assert set(ALL) >= SEVERAL


def test_a_field_that_the_api_renames_would_be_seen() -> None:
    changed = {**SCHEMAS["Voice"]["properties"]}
    changed["title"] = changed.pop("name")
    assert {field: known(kind) for field, kind in hints(models.Voice).items()} != {
        field: told(each, given=False) for field, each in changed.items()
    }
