"""Programs with keys of acme and of a stranger's workspace."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.accounts import keys
from apps.accounts.keys import Caller
from apps.accounts.models import Membership
from tests.holdings import fill

API = "/api/v1"


class Program:
    """Something that calls the API with a key, or without one."""

    def __init__(self, token: str | None) -> None:
        self.client = Client(raise_request_exception=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send JSON, or nothing; a path that is no whole address is one of the API's."""
        address = path if path.startswith("/api") else f"{API}{path}"
        content = "" if body is None else json.dumps(body)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(method, address, content, "application/json", headers={**self.headers, **given})

    def get(self, path: str, **headers: str) -> Any:
        return self.send("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("POST", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any) -> Any:
        return self.send("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.send("DELETE", path)

    def form(self, path: str, **fields: Any) -> Any:
        """Send a form with files."""
        return self.client.post(f"{API}{path}", fields, headers=self.headers)


def key_of(user: Any, workspace: Any, scope: str) -> str:
    """Return a new key of a member's."""
    membership = Membership.objects.get(user=user, workspace=workspace)
    return keys.issue(membership=membership, name=f"{scope} of {user}", scope=scope)[1]


@pytest.fixture
def program(acme: Any, alice: Any) -> Callable[..., Program]:
    """Return a function: scope -> a program with a key of Alice's, who owns acme."""
    return lambda scope="admin": Program(key_of(alice, acme, scope))


@pytest.fixture
def api(program: Callable[..., Program]) -> Program:
    """A program that may do everything."""
    return program("admin")


@pytest.fixture
def stranger(charlies: Any, charlie: Any) -> Program:
    """A program that may do everything in another workspace."""
    return Program(key_of(charlie, charlies, "admin"))


@pytest.fixture
def held(acme: Any, alice: Any) -> dict[str, Any]:
    """One of everything in acme."""
    return fill(acme, alice)


def error_of(answer: Any, status: int) -> dict[str, Any]:
    """Return the error of an answer that has the status and the one shape of all errors."""
    assert answer.status_code == status, (answer.status_code, answer.content)
    body = answer.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "code", "message", "param", "request_id"}
    assert error["request_id"] == answer["X-Request-ID"]
    assert error["message"].endswith((".", "?")), error
    return error


@pytest.fixture
def caller_for(acme: Any) -> Callable[..., Caller]:
    """Return a function: a member of acme, a scope -> who stands behind a new key of theirs."""

    def make(user: Any, scope: str = "create") -> Caller:
        _, token = keys.issue(membership=acme.memberships.get(user=user), name="CI", scope=scope)
        caller = keys.caller_of(token)
        assert caller is not None
        return caller

    return make


@pytest.fixture
def caller(caller_for: Callable[..., Caller], bob: Any) -> Caller:
    """Who stands behind a key of Bob's."""
    return caller_for(bob)


@pytest.fixture
def token(acme: Any, bob: Any) -> str:
    """A key of Bob's."""
    return keys.issue(membership=acme.memberships.get(user=bob), name="CI", scope="create")[1]
