from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from apps.accounts import services
from apps.accounts.models import AuditEvent, Membership, Role, Workspace
from apps.errors import Refused

ClientOf = Callable[[Any], Client]


def of(acme: Any, user: Any) -> Membership:
    return Membership.objects.get(workspace=acme, user=user)


def test_admins_change_roles_and_it_is_on_record(acme: Any, adam: Any, bob: Any, client_of: ClientOf) -> None:
    client_of(adam).post(f"/w/acme/team/{of(acme, bob).code}/role/", {"role": "viewer"})
    assert of(acme, bob).role == Role.VIEWER
    event = AuditEvent.objects.get(action="member.role")
    assert (event.user, event.target, event.data) == (adam, bob.email, {"before": "editor", "after": "viewer"})


@pytest.mark.parametrize("role", ["owner", "king", ""])
def test_nobody_becomes_owner_by_a_role_form(acme: Any, alice: Any, bob: Any, client_of: ClientOf, role: str) -> None:
    answer = client_of(alice).post(f"/w/acme/team/{of(acme, bob).code}/role/", {"role": role})
    assert answer.status_code == 422
    assert of(acme, bob).role == Role.EDITOR


def test_the_owner_can_be_neither_demoted_nor_removed(acme: Any, alice: Any, adam: Any, client_of: ClientOf) -> None:
    client = client_of(adam)
    code = of(acme, alice).code
    assert client.post(f"/w/acme/team/{code}/role/", {"role": "viewer"}).status_code == 409
    assert client.post(f"/w/acme/team/{code}/remove/").status_code == 409
    assert of(acme, alice).role == Role.OWNER


def test_a_removed_member_is_out_at_once_and_told(acme: Any, adam: Any, bob: Any, client_of: ClientOf) -> None:
    bobs = client_of(bob)
    assert bobs.get("/w/acme/team/").status_code == 200
    client_of(adam).post(f"/w/acme/team/{of(acme, bob).code}/remove/")
    assert bobs.get("/w/acme/team/").status_code == 404
    assert mail.outbox[0].to == [bob.email]


def test_members_leave_but_the_owner_hands_over_first(acme: Any, alice: Any, bob: Any, client_of: ClientOf) -> None:
    assert client_of(bob).post("/w/acme/team/leave/").status_code == 302
    assert not acme.memberships.filter(user=bob).exists()
    answer = client_of(alice).post("/w/acme/team/leave/")
    assert answer.status_code == 409 and "Hand the workspace over" in answer.content.decode()


def test_handing_over_swaps_the_roles(acme: Any, alice: Any, bob: Any, client_of: ClientOf) -> None:
    client_of(alice).post("/w/acme/team/transfer/", {"member": of(acme, bob).code})
    assert (of(acme, bob).role, of(acme, alice).role) == (Role.OWNER, Role.ADMIN)
    assert mail.outbox[0].to == [bob.email]


def test_handing_over_to_a_stranger_or_oneself_changes_nothing(
    acme: Any, alice: Any, charlie: Any, charlies: Any, client_of: ClientOf
) -> None:
    for membership in (of(charlies, charlie), of(acme, alice)):
        answer = client_of(alice).post("/w/acme/team/transfer/", {"member": membership.code})
        assert answer.status_code == 422
        with pytest.raises(Refused):
            services.transfer(workspace=acme, owner=alice, to=membership)
    assert of(acme, alice).role == Role.OWNER


def test_the_team_page_shows_controls_to_admins_only(acme: Any, adam: Any, victor: Any, client_of: ClientOf) -> None:
    assert "Invite somebody" in client_of(adam).get("/w/acme/team/").content.decode()
    assert "Invite somebody" not in client_of(victor).get("/w/acme/team/").content.decode()


def test_renaming_moves_the_address(acme: Any, adam: Any, client_of: ClientOf) -> None:
    client = client_of(adam)
    answer = client.post("/w/acme/settings/", {"name": "Acme Music", "slug": "Acme-Music"})
    assert answer["Location"] == "/w/acme-music/settings/"
    assert client.get("/w/acme/settings/").status_code == 404


@pytest.mark.parametrize("slug", ["charlies", "no spaces", "../etc", "", "x" * 61])
def test_a_bad_or_taken_address_is_refused_and_nothing_changes(
    acme: Any, adam: Any, charlies: Any, client_of: ClientOf, slug: str
) -> None:
    answer = client_of(adam).post("/w/acme/settings/", {"name": "Other", "slug": slug})
    assert answer.status_code == 422
    assert answer.context["form"].errors["slug"]
    acme.refresh_from_db()
    assert (acme.name, acme.slug) == ("Acme", "acme")


def test_deleting_needs_the_name_closes_to_all_and_can_be_undone(
    acme: Any, alice: Any, bob: Any, client_of: ClientOf
) -> None:
    alices, bobs = client_of(alice), client_of(bob)
    assert alices.post("/w/acme/delete/", {"name": "acme"}).status_code == 422
    page = alices.post("/w/acme/delete/", {"name": "Acme"}, follow=True)
    assert page.redirect_chain[-1][0] == "/settings/" and "Restore" in page.content.decode()
    assert alices.get("/w/acme/").status_code == bobs.get("/w/acme/team/").status_code == 404
    assert bobs.post(f"/workspaces/{acme.code}/restore/").status_code == 404
    alices.post(f"/workspaces/{acme.code}/restore/")
    assert bobs.get("/w/acme/team/").status_code == 200


def test_a_new_workspace_belongs_to_who_made_it(charlie: Any, client_of: ClientOf) -> None:
    answer = client_of(charlie).post("/workspaces/new/", {"name": "Charlie's"})
    slug = answer["Location"].split("/")[2]
    assert Workspace.objects.get(slug=slug).memberships.get().role == Role.OWNER


def test_a_name_without_letters_still_gets_an_address(charlie: Any) -> None:
    assert services.create_workspace(user=charlie, name="東京").slug == "workspace"
    assert services.create_workspace(user=charlie, name="♫").slug.startswith("workspace-")


def test_one_person_cannot_own_workspaces_without_end(
    charlie: Any, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "OWNED_MAX", 1)
    answer = client_of(charlie).post("/workspaces/new/", {"name": "One more"})
    assert answer.status_code == 409 and "Hand one over" in answer.content.decode()
