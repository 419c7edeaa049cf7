"""Every address of the compatible APIs, called with a key of each scope, a stranger's key, a session and nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.test import Client
from django.urls import reverse

from apps.accounts import keys
from apps.api.compat.urls import urlpatterns
from tests.holdings import fill
from tests.received import received

SCOPES = {"read": "viewer", "create": "editor", "admin": "admin"}
ROLES = list(SCOPES.values())
EVERY = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Address -> method -> the least role that may, as for the pages; what deletes for good is for keys of scope admin.
TABLE: dict[str, dict[str, str]] = {
    "voices": {"GET": "viewer"},
    "voices-search": {"GET": "viewer"},
    "voice-add": {"POST": "editor"},
    "settings-default": {"GET": "viewer"},
    "voice": {"GET": "viewer", "DELETE": "admin"},
    "voice-edit": {"POST": "editor"},
    "settings": {"GET": "viewer"},
    "settings-edit": {"POST": "editor"},
    "sample": {"DELETE": "admin"},
    "sample-audio": {"GET": "viewer"},
    "change": {"POST": "editor"},
    "change-stream": {"POST": "editor"},
    "speech-to-speech": {"POST": "editor"},
    "speech-to-speech-stream": {"POST": "editor"},
    "speak": {"POST": "editor"},
    "speak-stream": {"POST": "editor"},
    "speak-timed": {"POST": "editor"},
    "speak-stream-timed": {"POST": "editor"},
    "history": {"GET": "viewer"},
    "history-download": {"POST": "viewer"},
    "history-item": {"GET": "viewer", "DELETE": "admin"},
    "history-audio": {"GET": "viewer"},
    "models": {"GET": "viewer"},
    "model": {"GET": "viewer"},
    "user": {"GET": "viewer"},
    "subscription": {"GET": "viewer"},
    "audio-speech": {"POST": "editor"},
    "unknown": dict.fromkeys(EVERY, "viewer"),
    "unknown-2": dict.fromkeys(EVERY, "viewer"),
}
CASES = [(name, method) for name, methods in TABLE.items() for method in methods]
NOT_FOUND = {"unknown", "unknown-2"}
NOT_YET = {"speak", "speak-stream", "speak-timed", "speak-stream-timed", "audio-speech"}


@pytest.fixture
def held(acme: Any, alice: Any) -> dict[str, Any]:
    """One of everything in acme."""
    return fill(acme, alice)


@contextmanager
def undone() -> Iterator[None]:
    """Take back what is written inside."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def token_of(workspace: Any, user: Any, scope: str) -> str:
    return keys.issue(membership=workspace.memberships.get(user=user), name=scope, scope=scope)[1]


def ask(client: Client, name: str, method: str, held: dict[str, Any], token: str | None) -> Any:
    """Call an address about what ``held`` has, with what its body cannot be without."""
    pattern = next(pattern for pattern in urlpatterns if pattern.name == name)
    made = {"voice": held["voice"].code, "sample": held["recording"].code, "code": held["conversion"].code}
    made |= {"model": "voicecloud_fast", "rest": "no/such/thing"}
    address = reverse(f"compat:{name}", kwargs={key: made[key] for key in pattern.pattern.converters})
    headers = {"xi-api-key": token} if token else {}
    if name == "history-download":
        body = {"history_item_ids": [str(held["conversion"].code)]}
        return client.post(address, body, "application/json", headers=headers)
    if name == "voice-edit":
        return client.post(address, {"name": "Renamed"}, headers=headers)
    if name.startswith(("change", "speech-to-speech")):
        file = SimpleUploadedFile("note.txt", b"no sound")
        return client.post(address, {"audio": file}, headers=headers)
    return client.generic(method, address, b"", "application/json", headers=headers)


def test_every_address_has_a_row_and_every_row_an_address() -> None:
    assert {pattern.name for pattern in urlpatterns} == set(TABLE)


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_key_opens_exactly_what_its_scope_allows(
    name: str, method: str, held: dict[str, Any], acme: Any, alice: Any
) -> None:
    for scope, role in SCOPES.items():
        with undone():
            answer = ask(Client(), name, method, held, token_of(acme, alice, scope))
        if ROLES.index(role) < ROLES.index(TABLE[name][method]):
            assert answer.status_code == 403, (scope, answer.status_code)
            assert "missing_permissions" in answer.content.decode() or name == "audio-speech"
        elif name in NOT_FOUND:
            assert answer.status_code == 404
        elif name in NOT_YET:
            assert answer.status_code == 501
        else:
            assert answer.status_code in (200, 422), (scope, answer.status_code, received(answer).body)


def test_a_key_may_no_more_than_the_member_who_made_it(held: dict[str, Any], acme: Any, adam: Any) -> None:
    token = token_of(acme, adam, "admin")
    acme.memberships.filter(user=adam).update(role="viewer")
    assert ask(Client(), "voice", "GET", held, token).status_code == 200
    assert ask(Client(), "voice-edit", "POST", held, token).status_code == 403
    acme.memberships.filter(user=adam).delete()
    assert ask(Client(), "voice", "GET", held, token).status_code == 401


@pytest.mark.parametrize(("name", "method"), CASES)
def test_nothing_opens_without_a_key(
    name: str, method: str, held: dict[str, Any], alice: Any, client_of: Callable[[Any], Client]
) -> None:
    for client in (Client(), client_of(alice)):
        answer = ask(client, name, method, held, None)
        assert answer.status_code == 401, answer.status_code
        assert not answer.cookies


def test_an_unknown_key_opens_nothing(held: dict[str, Any]) -> None:
    answer = ask(Client(), "voice", "GET", held, "vc_wrong")
    assert (answer.status_code, answer.json()["detail"]["status"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(("name", "cost"), [("voices", "cheap"), ("voice-edit", "dear"), ("change", "dear")])
def test_requests_are_limited_and_told_how_many_are_left(
    name: str, cost: str, held: dict[str, Any], acme: Any, alice: Any, settings: Any
) -> None:
    settings.API_RATE_PER_KEY, settings.API_RATE_DEAR = (2, 0) if cost == "cheap" else (0, 2)
    token, method = token_of(acme, alice, "create"), next(iter(TABLE[name]))
    left = [ask(Client(), name, method, held, token)["RateLimit-Remaining"] for _ in range(2)]
    assert left == ["1", "0"]
    answer = ask(Client(), name, method, held, token)
    assert (answer.status_code, answer.json()["detail"]["status"]) == (429, "too_many_requests")
    assert int(answer["Retry-After"]) > 0


@pytest.mark.parametrize("name", TABLE)
def test_a_method_without_a_row_is_not_allowed(name: str, held: dict[str, Any], acme: Any, alice: Any) -> None:
    token = token_of(acme, alice, "admin")
    pattern = next(pattern for pattern in urlpatterns if pattern.name == name)
    address = reverse(f"compat:{name}", kwargs=dict.fromkeys(pattern.pattern.converters, "x"))
    for method in {*EVERY, "OPTIONS"} - set(TABLE[name]):
        answer = Client().generic(method, address, headers={"xi-api-key": token})
        assert answer.status_code == 405, (method, answer.status_code)
        assert set(TABLE[name]) <= set(answer["Allow"].split(", "))


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_stranger_s_key_finds_nothing_of_acme_s(
    name: str, method: str, held: dict[str, Any], charlies: Any, charlie: Any
) -> None:
    with undone():
        answer = ask(Client(), name, method, held, token_of(charlies, charlie, "admin"))
    about_one = any(word in str(next(p for p in urlpatterns if p.name == name).pattern) for word in (":voice", ":code"))
    if about_one or name == "history-download":
        assert answer.status_code == 404, answer.status_code
    content = received(answer).body.decode()
    assert "Acme" not in content
    if answer.status_code == 200:
        assert str(held["voice"].code) not in content and str(held["conversion"].code) not in content


def test_a_sample_of_another_voice_is_not_found_through_ones_own(
    held: dict[str, Any], charlies: Any, charlie: Any
) -> None:
    own = fill(charlies, charlie)
    token = token_of(charlies, charlie, "admin")
    for name, method in (("sample-audio", "GET"), ("sample", "DELETE")):
        mixed = {**held, "voice": own["voice"]}
        assert ask(Client(), name, method, mixed, token).status_code == 404
        assert ask(Client(), name, method, own, token).status_code == 200


def test_files_are_sent_as_they_were_stored(held: dict[str, Any], acme: Any, alice: Any) -> None:
    token = token_of(acme, alice, "read")
    for name, file in (("history-audio", held["artifact"].file), ("sample-audio", held["recording"].file)):
        answer = ask(Client(), name, "GET", held, token)
        with file.open() as stored:
            assert received(answer).body == stored.read()
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Disposition"].startswith("attachment")
        assert answer["Cache-Control"] == "private, no-store"


def test_a_form_of_another_site_changes_nothing(
    held: dict[str, Any], acme: Any, alice: Any, client_of: Callable[[Any], Client]
) -> None:
    """A session opens nothing, so these addresses need no CSRF token, and programs have none."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert ask(client, "voice-edit", "POST", held, None).status_code == 401
    assert ask(client, "voice-edit", "POST", held, token_of(acme, alice, "create")).status_code == 200
