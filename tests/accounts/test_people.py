from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.db import IntegrityError

from apps.accounts.models import Membership, Role, User


def test_the_tests_have_a_real_redis() -> None:
    cache.set("answer", 42)
    assert cache.get("answer") == 42


def test_an_address_is_one_person_whatever_its_case(alice: Any) -> None:
    with pytest.raises(IntegrityError):
        User(email="ALICE@example.org", password="x").save()


def test_a_workspace_has_exactly_one_owner(acme: Any, charlie: Any) -> None:
    with pytest.raises(IntegrityError):
        Membership.objects.create(workspace=acme, user=charlie, role=Role.OWNER)


def test_each_role_may_do_all_that_the_next_one_may() -> None:
    order = [Role.OWNER, Role.ADMIN, Role.EDITOR, Role.VIEWER]
    assert [[a.at_least(b) for b in order] for a in order] == [
        [True, True, True, True],
        [False, True, True, True],
        [False, False, True, True],
        [False, False, False, True],
    ]
