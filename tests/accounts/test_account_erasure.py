"""A person who deletes their account takes along what is theirs alone, and leaves the rest without their name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.files.storage import default_storage
from django.test import Client

from apps.accounts import services
from apps.accounts.models import AuditEvent, ErasureReport, Membership, Role, User, Workspace
from apps.errors import Refused
from apps.jobs.models import Artifact, Job
from apps.pages import erasure
from tests.holdings import fill

ClientOf = Callable[[Any], Client]
LONG = 600.0  # seconds for one call


@pytest.fixture
def held(acme: Any, alice: Any) -> dict[str, Any]:
    """One of everything in acme."""
    return fill(acme, alice)


def test_a_person_goes_with_what_is_theirs_alone(
    held: dict[str, Any], acme: Any, bob: Any, client_of: ClientOf
) -> None:
    own = services.create_workspace(user=bob, name="Bob's", personal=True)
    kept = fill(own, bob)["take"].file
    ErasureReport.objects.all().delete()
    Job.objects.filter(pk=held["job"].pk).update(created_by=bob)
    other = Client()
    assert other.login(email=bob.email, password="correct-horse-battery")
    client = client_of(bob)
    assert client.post("/settings/delete-account/", {"email": "someone@example.org"}).status_code == 422
    page = client.post("/settings/delete-account/", {"email": bob.email.upper()}, follow=True)
    assert page.redirect_chain == [("/", 302)] and "Your account is deleted" in page.content.decode()
    assert not User.objects.filter(pk=bob.pk).exists()
    assert other.get("/settings/").status_code == client.get("/settings/").status_code == 302
    assert erasure.erase_due(LONG) == 1 and erasure.tell() == 1
    assert mail.outbox[-1].to == [bob.email]
    assert not Workspace.objects.filter(pk=own.pk).exists() and not default_storage.exists(str(kept))
    assert Workspace.objects.filter(pk=acme.pk).exists() and default_storage.exists(str(held["take"].file))
    assert Job.objects.get(pk=held["job"].pk).created_by is None


def test_who_owns_a_workspace_with_others_hands_it_over_first(
    acme: Any, alice: Any, adam: Any, client_of: ClientOf
) -> None:
    answer = client_of(alice).post("/settings/delete-account/", {"email": alice.email})
    assert answer.status_code == 422 and "has other members" in answer.content.decode()
    assert User.objects.filter(pk=alice.pk).exists() and not ErasureReport.objects.exists()
    services.transfer(workspace=acme, owner=alice, to=Membership.objects.get(workspace=acme, user=adam))
    assert client_of(alice).post("/settings/delete-account/", {"email": alice.email}).status_code == 302
    assert Membership.objects.filter(workspace=acme, role=Role.OWNER).get().user == adam


def test_staff_cannot_remove_themselves(db: None) -> None:
    staff = User.objects.create_superuser("staff@example.org", "x")
    with pytest.raises(Refused):
        services.erase_account(user=staff)


def test_sessions_of_a_removed_person_are_gone(db: None, bob: Any) -> None:
    answer = Client().post("/accounts/login/", {"login": bob.email, "password": "correct-horse-battery"})
    assert answer.status_code == 302
    assert Session.objects.count() == 1
    services.erase_account(user=bob)
    assert Session.objects.count() == 0


def test_a_log_line_stays_readable_without_its_person(acme: Any, bob: Any, adam: Any) -> None:
    services.audit(workspace=acme, user=bob, action="voice.deleted", target="Mia")
    services.erase_account(user=bob)
    assert AuditEvent.objects.get(action="voice.deleted").user is None
    assert Artifact.objects.count() == 0
