"""Every operation of the OpenAPI document, called by everybody: a new one without a row here fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from apps.api.site import api as site
from tests.api.conftest import API, Program, error_of, key_of
from tests.holdings import fill
from tests.sounds import tone, wav_bytes

SCOPES = ["read", "create", "admin"]
ROLES = ["viewer", "editor", "admin"]
OPERATIONS = {
    f"{method.upper()} {path.removeprefix(API)}": operation
    for path, operations in site.document()["paths"].items()
    for method, operation in operations.items()
}
# Operation -> the least role that may; None: everybody, without a key.
TABLE: dict[str, str | None] = {
    "GET /health": None,
    "GET /info": None,
    "GET /limits": "viewer",
    "GET /workspace": "viewer",
    "PATCH /workspace": "admin",
    "GET /members": "viewer",
    "GET /members/{member}": "viewer",
    "PATCH /members/{member}": "admin",
    "DELETE /members/{member}": "admin",
    "GET /invitations": "admin",
    "POST /invitations": "admin",
    "DELETE /invitations/{invitation}": "admin",
    "GET /voices": "viewer",
    "POST /voices": "editor",
    "GET /voices/{voice}": "viewer",
    "PATCH /voices/{voice}": "editor",
    "DELETE /voices/{voice}": "admin",
    "POST /voices/{voice}/choose": "editor",
    "GET /voices/{voice}/preflight": "viewer",
    "GET /voices/{voice}/recordings": "viewer",
    "POST /voices/{voice}/recordings": "editor",
    "GET /recordings/{recording}": "viewer",
    "GET /recordings/{recording}/audio": "viewer",
    "DELETE /recordings/{recording}": "admin",
    "POST /voices/{voice}/uploads": "editor",
    "GET /uploads/{upload}": "editor",
    "PUT /uploads/{upload}/parts/{offset}": "editor",
    "POST /uploads/{upload}/finish": "editor",
    "DELETE /uploads/{upload}": "editor",
    "GET /voices/{voice}/takes": "viewer",
    "GET /takes/{take}": "viewer",
    "GET /takes/{take}/audio": "viewer",
    "PATCH /takes/{take}": "editor",
    "GET /voices/{voice}/consents": "viewer",
    "POST /voices/{voice}/consents": "editor",
    "POST /voices/{voice}/consents/statement": "editor",
    "GET /consents/{consent}": "viewer",
    "GET /consents/{consent}/audio": "viewer",
    "POST /consents/{consent}/withdraw": "editor",
    "GET /voices/{voice}/models": "viewer",
    "POST /voices/{voice}/models": "editor",
    "POST /voices/{voice}/models/instant": "editor",
    "GET /models/{model}": "viewer",
    "POST /models/{model}/activate": "editor",
    "DELETE /models/{model}": "admin",
    "GET /models/{model}/resources": "viewer",
    "GET /sources": "viewer",
    "POST /sources": "editor",
    "GET /sources/{source}": "viewer",
    "GET /sources/{source}/audio": "viewer",
    "GET /conversions": "viewer",
    "POST /conversions": "editor",
    "POST /conversions/upload": "editor",
    "GET /conversions/{conversion}": "viewer",
    "GET /conversions/{conversion}/result": "viewer",
    "GET /conversions/{conversion}/original": "viewer",
    "POST /conversions/{conversion}/again": "editor",
    "PATCH /conversions/{conversion}": "editor",
    "DELETE /conversions/{conversion}": "admin",
    "GET /batches": "viewer",
    "POST /batches": "editor",
    "GET /batches/{batch}": "viewer",
    "POST /batches/{batch}/cancel": "editor",
    "GET /jobs": "viewer",
    "GET /jobs/{job}": "viewer",
    "GET /jobs/{job}/artifacts": "viewer",
    "GET /jobs/{job}/events": "viewer",
    "POST /jobs/{job}/cancel": "editor",
    "POST /jobs/{job}/retry": "editor",
    "GET /events": "viewer",
    "GET /artifacts/{artifact}": "viewer",
    "GET /artifacts/{artifact}/download": "viewer",
    "GET /artifacts/{artifact}/stream": "viewer",
    "GET /usage": "viewer",
    "GET /usage/events": "viewer",
    "GET /webhooks": "admin",
    "POST /webhooks": "admin",
    "GET /webhooks/{endpoint}": "admin",
    "PATCH /webhooks/{endpoint}": "admin",
    "DELETE /webhooks/{endpoint}": "admin",
    "POST /webhooks/{endpoint}/secrets": "admin",
    "POST /webhooks/{endpoint}/rotate": "admin",
    "POST /webhooks/{endpoint}/test": "admin",
    "POST /webhooks/{endpoint}/replay-failed": "admin",
    "GET /webhooks/{endpoint}/deliveries": "admin",
    "GET /deliveries/{delivery}": "admin",
    "POST /deliveries/{delivery}/replay": "admin",
}
# What a body cannot be without, of those that need one; the codes in it are of what acme holds.
BODIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "PATCH /workspace": lambda held: {"name": "Acme"},
    "PATCH /members/{member}": lambda held: {"role": "viewer"},
    "POST /invitations": lambda held: {"email": "somebody@example.org"},
    "POST /voices": lambda held: {"name": "Another"},
    "PATCH /voices/{voice}": lambda held: {"name": "Renamed"},
    "POST /voices/{voice}/uploads": lambda held: {"name": "a.wav", "size": 10},
    "PATCH /takes/{take}": lambda held: {"dropped": True},
    "POST /voices/{voice}/consents/statement": lambda held: {"full_name": "Ada"},
    "POST /voices/{voice}/models": lambda held: {"preset": "fast"},
    "POST /conversions": lambda held: {"voice": held["voice"].code, "source": held["source"].code},
    "POST /conversions/{conversion}/again": lambda held: {},
    "PATCH /conversions/{conversion}": lambda held: {"kept": True},
    "POST /batches": lambda held: {"name": "B", "sources": [held["source"].code], "voices": [held["voice"].code]},
    "POST /webhooks": lambda held: {"url": "https://192.0.2.1/hooks"},
    "PATCH /webhooks/{endpoint}": lambda held: {"enabled": False},
    "POST /webhooks/{endpoint}/replay-failed": lambda held: {"since": "2026-01-01T00:00:00Z"},
}
FORMS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "POST /voices/{voice}/recordings": lambda held: {"file": sound()},
    "POST /voices/{voice}/consents": lambda held: {"full_name": "Ada", "statement": "I agree.", "agreed": "true"},
    "POST /sources": lambda held: {"file": sound()},
    "POST /conversions/upload": lambda held: {"file": sound(), "voice": str(held["voice"].code)},
}


def sound() -> Any:
    from django.core.files.uploadedfile import SimpleUploadedFile

    return SimpleUploadedFile("new.wav", wav_bytes(tone(1.5)), "audio/wav")


def address(operation: str, held: dict[str, Any]) -> tuple[str, str]:
    method, path = operation.split(" ")
    for word in path.replace("}", "{").split("{")[1::2]:
        value = 0 if word == "offset" else held["membership" if word == "member" else word].code
        path = path.replace(f"{{{word}}}", str(value))
    return method, path


def call(program: Program, operation: str, held: dict[str, Any]) -> Any:
    """Call an operation with all that it needs."""
    method, path = address(operation, held)
    if operation in FORMS:
        return program.form(path, **FORMS[operation](held))
    if operation.startswith("PUT "):
        octets = "application/octet-stream"
        return program.client.generic(method, f"{API}{path}", b"12", octets, headers=program.headers)
    body = BODIES[operation](held) if operation in BODIES else None
    return program.send(method, path, json.loads(json.dumps(body, default=str)))


@contextmanager
def undone() -> Iterator[None]:
    """Take back what is written inside."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert set(OPERATIONS) == set(TABLE)
    assert {name: operation["x-role"] for name, operation in OPERATIONS.items()} == TABLE


def test_what_has_a_body_is_called_with_one() -> None:
    with_body = {name for name, operation in OPERATIONS.items() if "requestBody" in operation}
    assert with_body == {*BODIES, *FORMS, "PUT /uploads/{upload}/parts/{offset}"}


@pytest.mark.parametrize("operation", TABLE)
def test_a_key_opens_exactly_what_its_scope_allows(operation: str, held: dict[str, Any], program: Any) -> None:
    least = TABLE[operation]
    for scope, role in zip(SCOPES, ROLES, strict=True):
        caller = program(scope)
        with undone():
            answer = call(caller, operation, held)
        if least is None or ROLES.index(role) >= ROLES.index(least):
            assert answer.status_code not in (401, 403, 404, 405, 415), (scope, answer.status_code, answer.content)
            assert answer.status_code < 500, (scope, answer.content)
        else:
            assert error_of(answer, 403)["type"] == "permission"


@pytest.mark.parametrize("operation", [name for name, role in TABLE.items() if role is not None])
def test_nothing_opens_without_a_key(operation: str, held: dict[str, Any], client_of: Any, alice: Any) -> None:
    nobody, browser = Program(None), Program(None)
    browser.client = client_of(alice)  # a session opens the pages, never the API
    for caller in (nobody, browser, Program("vc_wrong")):
        answer = call(caller, operation, held)
        assert error_of(answer, 401)["type"] == "authentication"
        assert answer["WWW-Authenticate"].startswith("Bearer")


BY_CODE = [name for name in TABLE if "{" in name]


@pytest.mark.parametrize("operation", BY_CODE)
def test_a_stranger_finds_nothing(operation: str, held: dict[str, Any], stranger: Program) -> None:
    answer = call(stranger, operation, held)
    assert error_of(answer, 404)["type"] == "not_found"
    assert "Acme" not in answer.content.decode()


NAMED_IN_BODIES = ["POST /conversions", "POST /batches"]


@pytest.mark.parametrize("operation", NAMED_IN_BODIES)
def test_a_stranger_cannot_name_what_is_not_theirs(
    operation: str, held: dict[str, Any], stranger: Program, charlies: Any, charlie: Any
) -> None:
    own = fill(charlies, charlie)
    for foreign in ("voice", "source"):
        answer = call(stranger, operation, {**own, foreign: held[foreign]})
        assert error_of(answer, 404)["param"] in (foreign, f"{foreign}s")


LISTS = [name for name, operation in OPERATIONS.items() if "Page" in json.dumps(operation["responses"].get("200", ""))]


@pytest.mark.parametrize("operation", LISTS)
def test_lists_show_a_stranger_nothing_of_acme(operation: str, held: dict[str, Any], stranger: Program) -> None:
    answer = call(stranger, operation, held)
    if "{" in operation:
        error_of(answer, 404)
    else:
        found = answer.content.decode()
        assert answer.status_code == 200
        assert "Acme" not in found and not any(str(row.code) in found for row in held.values() if hasattr(row, "code"))


def test_a_role_that_sinks_takes_its_keys_with_it(held: dict[str, Any], acme: Any, adam: Any) -> None:
    caller = Program(key_of(adam, acme, "admin"))
    assert caller.get("/webhooks").status_code == 200
    acme.memberships.filter(user=adam).update(role="viewer")
    error_of(caller.get("/webhooks"), 403)
    assert caller.get("/jobs").status_code == 200
    acme.memberships.filter(user=adam).delete()
    error_of(caller.get("/jobs"), 401)


def test_the_document_and_its_page_are_for_everybody(db: None) -> None:
    client = Client()
    assert client.get(f"{API}/openapi.json").json()["openapi"] == "3.1.0"
    assert client.get(f"{API}/docs").status_code == 200
