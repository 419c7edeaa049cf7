from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts import keys
from apps.accounts.keys import Caller


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
