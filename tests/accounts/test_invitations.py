from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from apps.accounts import services
from apps.accounts.models import AuditEvent, Invitation, Membership, Role, User
from apps.errors import Refused
from tests.accounts.test_signup import code_in, sign_up

ClientOf = Callable[[Any], Client]


def invite(acme: Any, alice: Any, email: str = "charlie@example.org", role: str = "editor") -> str:
    return services.invite(workspace=acme, user=alice, email=email, role=role)[1]


def test_an_invitation_is_sent_by_letter_and_its_link_shown_once(acme: Any, adam: Any, client_of: ClientOf) -> None:
    client = client_of(adam)
    page = client.post("/w/acme/team/invite/", {"email": "New@Example.org", "role": "viewer"}, follow=True)
    (letter,) = mail.outbox
    link = re.search(r"http://\S+/invitations/\S+", letter.body)
    assert link and letter.to == ["new@example.org"] and letter.alternatives
    assert link[0] in page.content.decode()
    assert link[0] not in client.get("/w/acme/team/").content.decode()
    token = link[0].rstrip("/").rsplit("/", 1)[1]
    stored = Invitation.objects.get()
    assert token not in str(stored.__dict__) and stored.token_hash == services.token_hash(token)


def test_a_stranger_signs_up_by_the_link_and_is_a_member(acme: Any, alice: Any) -> None:
    token = invite(acme, alice, "dora@example.org")
    client = Client()
    page = client.get(f"/invitations/{token}/")
    assert "Sign up as dora@example.org" in page.content.decode()
    form = client.get(f"/accounts/signup/?next=/invitations/{token}/&email=dora@example.org")
    assert 'value="dora@example.org"' in form.content.decode()
    sign_up(client, "dora@example.org", next=f"/invitations/{token}/")
    page = client.post("/accounts/confirm-email/", {"code": code_in(mail.outbox[-1].body)}, follow=True)
    assert page.redirect_chain[-1][0] == f"/invitations/{token}/"
    assert client.post(f"/invitations/{token}/")["Location"] == "/w/acme/"
    assert Membership.objects.get(workspace=acme, user__email="dora@example.org").role == Role.EDITOR
    assert AuditEvent.objects.filter(workspace=acme, action="member.joined", target="dora@example.org").exists()


def test_nobody_cannot_accept(acme: Any, alice: Any) -> None:
    assert Client().post(f"/invitations/{invite(acme, alice)}/").status_code == 404


def test_the_wrong_person_is_told_whose_it_is_and_cannot_accept(acme: Any, alice: Any, client_of: ClientOf) -> None:
    token = invite(acme, alice, "dora@example.org")
    other = User.objects.create_user("eve@example.org", "x")
    client = client_of(other)
    assert "this invitation is for dora@example.org" in client.get(f"/invitations/{token}/").content.decode()
    answer = client.post(f"/invitations/{token}/")
    assert answer.status_code == 403
    assert "sent to dora@example.org" in answer.content.decode()
    assert not other.memberships.exists()
    assert services.open_invitation(token).is_open, "the right person can still use it"


def test_another_proved_address_of_ones_own_will_do(acme: Any, alice: Any, charlie: Any) -> None:
    charlie.emailaddress_set.create(email="Charlie@Work.example", verified=False)
    token = invite(acme, alice, "charlie@work.example")
    with pytest.raises(Refused):
        services.accept(token=token, user=charlie)
    charlie.emailaddress_set.filter(email="Charlie@Work.example").update(verified=True)
    assert services.accept(token=token, user=charlie).role == Role.EDITOR


def test_a_link_works_once(acme: Any, alice: Any, charlie: Any) -> None:
    token = invite(acme, alice)
    membership = services.accept(token=token, user=charlie)
    services.remove_member(membership=membership, user=alice)
    with pytest.raises(Refused, match="expired or was withdrawn"):
        services.accept(token=token, user=charlie)


@pytest.mark.parametrize("end", ["expired", "withdrawn", "replaced", "workspace deleted"])
def test_a_link_that_no_longer_works_says_so(
    acme: Any, alice: Any, charlie: Any, client_of: ClientOf, end: str
) -> None:
    token = invite(acme, alice)
    match end:
        case "expired":
            Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        case "withdrawn":
            client_of(alice).post(f"/w/acme/team/invitations/{Invitation.objects.get().code}/withdraw/")
        case "replaced":
            invite(acme, alice)
        case "workspace deleted":
            services.delete_workspace(workspace=acme, user=alice)
    for method in ("get", "post"):
        answer = getattr(client_of(charlie), method)(f"/invitations/{token}/")
        assert answer.status_code == 410
        assert "Ask for a new one" in answer.content.decode()
    assert not acme.memberships.filter(user=charlie).exists()


def test_a_made_up_link_is_answered_like_an_expired_one(charlie: Any, client_of: ClientOf) -> None:
    assert client_of(charlie).get("/invitations/made-up/").status_code == 410


def test_members_are_not_invited_again(acme: Any, alice: Any, client_of: ClientOf) -> None:
    answer = client_of(alice).post("/w/acme/team/invite/", {"email": "BOB@example.org", "role": "viewer"})
    assert answer.status_code == 422
    assert "already a member" in answer.content.decode()


@pytest.mark.parametrize("role", ["owner", "", "king"])
def test_nobody_is_invited_as_owner_or_nonsense(acme: Any, alice: Any, client_of: ClientOf, role: str) -> None:
    answer = client_of(alice).post("/w/acme/team/invite/", {"email": "new@example.org", "role": role})
    assert answer.status_code == 422
    assert not Invitation.objects.exists() and not mail.outbox


def test_a_failing_mail_server_is_told_and_the_link_shown(
    acme: Any, alice: Any, client_of: ClientOf, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    page = client_of(alice).post("/w/acme/team/invite/", {"email": "new@example.org", "role": "viewer"}, follow=True)
    html = page.content.decode()
    assert "mail server did not take" in html and "/invitations/" in html


def test_subjects_cannot_carry_a_second_header(acme: Any, alice: Any, client_of: ClientOf) -> None:
    acme.name = "Acme\nBcc: everyone@example.org"
    acme.save()
    client_of(alice).post("/w/acme/team/invite/", {"email": "new@example.org", "role": "viewer"})
    assert mail.outbox[0].recipients() == ["new@example.org"]
    assert "\n" not in mail.outbox[0].subject


def test_a_workspace_cannot_send_letters_without_end(
    acme: Any, alice: Any, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "INVITATIONS_PER_DAY", 2)
    client = client_of(alice)
    for _ in range(3):
        answer = client.post("/w/acme/team/invite/", {"email": "new@example.org", "role": "viewer"})
        Invitation.objects.all().delete()
    assert answer.status_code == 422 and "Go on tomorrow" in answer.content.decode()
    assert len(mail.outbox) == 2
