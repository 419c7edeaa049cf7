"""The OpenAPI document, taken at its word: whatever it allows or forbids is sent, and every answer must be in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.transport.serialization import Binary

from apps.api import throttle
from tests.api.conftest import API, key_of
from tests.holdings import fill
from tests.sounds import tone, wav_bytes

MANY, FEW = 8, 2
SCOPES = ("read", "create", "admin")
# What the document cannot tell: what there is, the plan's allowance, files that are gone or too large.
ACCEPTED = ["2xx", "3xx", "401", "402", "403", "404", "409", "410", "413"]
# Rules that a schema cannot hold: a day that is not over, the exact words, an address that is public.
RULED = ["compose_statement", "give_consent", "invite", "create_endpoint", "change_endpoint"]


def config(examples: int, *, more: bool) -> SchemathesisConfig:
    """Return how much is tried; ``more``: also the edges of every field, one by one."""
    accepted = {"positive_data_acceptance": {"expected-statuses": ACCEPTED}}
    ruled = {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "422"]}}
    return SchemathesisConfig.from_dict(
        {
            "generation": {"max-examples": examples, "deterministic": True, "no-shrink": True},
            "phases": {"coverage": {"enabled": more}, "examples": {"enabled": more}},
            "checks": accepted,
            "operations": [{"include-operation-id": RULED, "checks": ruled}],
        }
    )


def document(how: SchemathesisConfig) -> Any:
    """Return the document as the site answers it, but for streams, which never end: tests/api/test_events.py."""
    found = schemathesis.openapi.from_wsgi(f"{API}/openapi.json", get_wsgi_application(), config=how)
    return found.exclude(operation_id=["watch_job", "watch_all"])


def is_code(value: Any) -> bool:
    try:
        return str(UUID(str(value))) == str(value)
    except ValueError:
        return False


def point_at(case: Any, held: dict[str, Any]) -> None:
    """Let the codes that were made up be those of things that are there."""
    for name, value in (case.path_parameters or {}).items():
        if is_code(value):
            case.path_parameters[name] = str(held["membership" if name == "member" else name].code)
    if isinstance(case.query, dict) and len(str(case.query.get("cursor", ""))) <= 500:
        case.query.pop("cursor", None)  # none that this list gave
    if isinstance(case.body, dict):
        for name in ("voice", "source"):
            if is_code(case.body.get(name)):
                case.body[name] = str(held[name].code)
        for name in ("file", "spoken"):
            if isinstance(case.body.get(name), Binary):
                case.body[name] = wav_bytes(tone(1.0))


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """Keep the test's database open between requests, as Django's own test client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one address send many wrong keys, as this test does; that few are taken: tests/api/test_auth.py."""
    monkeypatch.setattr(throttle, "FAILURES", 100_000)


@pytest.fixture
def there(acme: Any, alice: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """One of everything in acme, and a key of each scope; what an example does with them is taken back."""
    return fill(acme, alice), {scope: key_of(alice, acme, scope) for scope in SCOPES}


LIMITS: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@pytest.mark.slow
@document(config(MANY, more=True)).parametrize()
@settings(max_examples=MANY, **LIMITS)
def test_every_answer_is_one_that_the_document_knows(case: Any, there: Any) -> None:
    ask(case, there, "admin")


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["read", "create"])
@document(config(FEW, more=False)).parametrize()
@settings(max_examples=FEW, **LIMITS)
def test_keys_of_lesser_scopes_get_such_answers_too(case: Any, there: Any, scope: str) -> None:
    ask(case, there, scope)


def ask(case: Any, there: Any, scope: str) -> None:
    """Send a request and hold its answer to the document; take back what it did."""
    held, tokens = there
    with transaction.atomic():
        point_at(case, held)
        case.call_and_validate(headers={"Authorization": f"Bearer {tokens[scope]}"})
        transaction.set_rollback(True)
