"""Whatever goes wrong, a program reads it in one shape."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.db import DatabaseError
from django.test import Client

from apps.api import problems
from apps.api.routes import voices as voice_routes
from tests.api.conftest import API, Program, error_of
from voicecloud.limits import BodyLimit

HTML = "text/html,application/xhtml+xml"


def test_a_field_that_is_missing_is_named(api: Program) -> None:
    error = error_of(api.post("/voices", {}), 422)
    assert (error["type"], error["code"], error["param"]) == ("validation", "missing", "name")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"name": "a" * 81}, "name"),
        ({"name": "a", "colour": "red"}, "colour"),
        ({"name": 7}, "name"),
        ([], None),
    ],
)
def test_a_field_that_is_wrong_is_named(api: Program, body: Any, param: str | None) -> None:
    assert error_of(api.post("/voices", body), 422)["param"] == param


def test_a_rule_of_the_pages_form_holds_for_programs(api: Program, held: dict[str, Any]) -> None:
    body = {"voice": str(held["voice"].code), "source": str(held["source"].code), "options": {"format": "wma"}}
    error = error_of(api.post("/conversions", body), 422)
    assert error["param"] == "options.format"


def test_a_taken_name_is_a_conflict(api: Program, held: dict[str, Any]) -> None:
    error = error_of(api.post("/voices", {"name": held["voice"].name}), 409)
    assert error["type"] == "conflict"


@pytest.mark.parametrize("address", ["/api/v1/nothing", "/api/v1/voices/7", "/api/v2/voices", "/api/v1/", "/api/"])
def test_unknown_addresses_are_told_as_json_even_to_a_browser(db: None, address: str) -> None:
    error = error_of(Client().get(address, headers={"Accept": HTML}), 404)
    assert error["message"] == (problems.NO_ADDRESS if address != "/api/v1/" else error["message"])


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_methods_that_an_address_does_not_take(api: Program, method: str) -> None:
    answer = api.send(method, "/voices")
    assert error_of(answer, 405)["type"] == "method_not_allowed"
    assert {word.strip() for word in answer["Allow"].split(",")} == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json(api: Program, content: bytes) -> None:
    answer = api.client.post(f"{API}/voices", content, "application/json", headers=api.headers)
    assert error_of(answer, 400)["message"] == problems.MALFORMED


def test_a_number_that_is_none_is_refused(api: Program, held: dict[str, Any]) -> None:
    body = {
        "voice": str(held["voice"].code),
        "source": str(held["source"].code),
        "options": {"retrieval": float("nan")},
    }
    error_of(api.post("/conversions", body), 422)


def test_a_body_of_another_kind(api: Program) -> None:
    answer = api.client.post(f"{API}/voices", b"name=Ada", "text/plain", headers=api.headers)
    assert error_of(answer, 415)["type"] == "unsupported_media_type"


def test_a_form_that_is_broken(api: Program, held: dict[str, Any]) -> None:
    broken = "multipart/form-data"  # without a boundary
    answer = api.client.post(f"{API}/sources", b"--x", broken, headers=api.headers)
    assert error_of(answer, 400)["message"] == problems.UNREADABLE


def test_json_that_is_too_long(api: Program) -> None:
    answer = api.post("/voices", {"name": "a", "description": "b" * 1_100_000})
    assert error_of(answer, 413)["type"] == "too_large"
    answer = api.post("/voices", {"name": "a", "description": "b" * 1_100_000}, Idempotency_Key="k-1")
    assert error_of(answer, 413)["type"] == "too_large"
    assert "RateLimit-Limit" in answer


async def test_a_body_that_is_too_long_to_be_read_at_all() -> None:
    limited = BodyLimit(None, workspace=10, other=5)  # type: ignore[arg-type]  # it never gets that far
    headers = [(b"content-length", b"11")]
    wire = ApplicationCommunicator(limited, {"type": "http", "path": f"{API}/sources", "headers": headers})
    start, body = await wire.receive_output(), await wire.receive_output()
    error = json.loads(body["body"])["error"]
    assert (start["status"], error["type"]) == (413, "too_large")
    assert dict(start["headers"])[b"x-request-id"].decode() == error["request_id"]


def test_a_file_that_is_no_sound(api: Program, held: dict[str, Any]) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    answer = api.form("/sources", file=SimpleUploadedFile("a.wav", b"no sound at all"))
    assert error_of(answer, 422)["type"] == "validation"
    assert error_of(api.form("/sources"), 422)["param"] == "file"


def test_a_fault_of_ours_says_nothing_of_itself(api: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the secret of the house")

    monkeypatch.setattr(voice_routes, "rows_of", broken)
    answer = api.get("/voices")
    assert error_of(answer, 500)["type"] == "server_error"
    assert "secret" not in answer.content.decode()


def test_a_storage_that_is_away_is_told_to_come_again(
    api: Program, held: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import EndpointConnectionError

    from apps.api.routes import recordings

    def away(*args: Any, **kwargs: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://store.example.com")

    monkeypatch.setattr(recordings, "serve", away)
    answer = api.get(f"/recordings/{held['recording'].code}/audio")
    assert error_of(answer, 503)["type"] == "unavailable"


def test_keys_are_in_no_answer(api: Program, held: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    token = api.headers["Authorization"].split()[1]
    with caplog.at_level(0):
        answers = [api.get("/workspace"), api.get("/nothing"), api.post("/voices", {})]
    assert not any(token in answer.content.decode() for answer in answers)
    assert token not in caplog.text


def test_the_document_says_what_each_operation_may_answer() -> None:
    from apps.api.site import api as site

    for path, operations in site.document()["paths"].items():
        for method, operation in operations.items():
            codes = set(operation["responses"])
            limited = {"401", "403", "404", "422", "429", "503"}
            assert limited <= codes if operation["x-role"] else limited.isdisjoint(codes), (method, path)


def test_a_database_fault_is_a_fault_of_ours(api: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise DatabaseError("no connection")

    monkeypatch.setattr(voice_routes, "rows_of", away)
    error_of(api.get("/voices"), 500)
