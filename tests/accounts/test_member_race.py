"""Two people change who is a member at the same moment. First the race itself, then that the product has none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from apps.accounts import services
from apps.accounts.models import Membership, Role

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*calls: Callable[[], Any]) -> list[Exception | None]:
    """Run the calls in threads that start together; return what each raised."""
    start = threading.Barrier(len(calls))
    raised: list[Exception | None] = [None] * len(calls)

    def run(index: int, call: Callable[[], Any]) -> None:
        try:
            start.wait(timeout=10)
            call()
        except Exception as error:  # noqa: BLE001  # handed back to the test, which looks at it
            raised[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index, call)) for index, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return raised


def naive_accept(token: str, user: Any, reached: threading.Barrier) -> None:
    """Accept as it would be without the claim: look whether the link is open, then join."""
    invitation = services.open_invitation(token)
    reached.wait(timeout=10)
    with transaction.atomic():
        Membership.objects.create(workspace=invitation.workspace, user=user, role=invitation.role)


@pytest.fixture
def pair(acme: Any, charlie: Any) -> tuple[Any, Any]:
    from apps.accounts.models import User

    return charlie, User.objects.create_user("dora@example.org")


def test_without_the_claim_one_link_lets_two_people_in(
    acme: Any, alice: Any, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "is_addressed_to", lambda invitation, user: True)
    token = services.invite(workspace=acme, user=alice, email="band@example.org", role="viewer")[1]
    reached = threading.Barrier(2)
    raised = at_once(*[lambda user=user: naive_accept(token, user, reached) for user in pair])
    assert raised == [None, None]
    assert acme.memberships.filter(user__in=pair).count() == 2


def test_one_link_lets_one_person_in(acme: Any, alice: Any, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "is_addressed_to", lambda invitation, user: True)
    token = services.invite(workspace=acme, user=alice, email="band@example.org", role="viewer")[1]
    raised = at_once(*[lambda user=user: services.accept(token=token, user=user) for user in pair])
    assert sorted(type(error).__name__ for error in raised) == ["NoneType", "Refused"]
    assert acme.memberships.filter(user__in=pair).count() == 1


def test_two_hand_overs_at_once_leave_exactly_one_owner(acme: Any, alice: Any, bob: Any, adam: Any) -> None:
    targets = [Membership.objects.get(workspace=acme, user=user) for user in (bob, adam)]
    raised = at_once(*[lambda to=to: services.transfer(workspace=acme, owner=alice, to=to) for to in targets])
    assert sorted(type(error).__name__ for error in raised) == ["NoneType", "Refused"]
    assert acme.memberships.filter(role=Role.OWNER).count() == 1
    assert acme.memberships.get(user=alice).role == Role.ADMIN


def test_handing_over_to_somebody_who_leaves_at_that_moment_never_loses_the_owner(
    acme: Any, alice: Any, bob: Any
) -> None:
    to = Membership.objects.get(workspace=acme, user=bob)
    raised = at_once(
        lambda: services.transfer(workspace=acme, owner=alice, to=to),
        lambda: services.remove_member(membership=to, user=bob),
    )
    assert sum(error is None for error in raised) == 1
    assert acme.memberships.filter(role=Role.OWNER).count() == 1
