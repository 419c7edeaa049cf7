from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.core.cache import cache
from django.test import Client

from apps.accounts import adapter
from apps.accounts.models import Role, User, Workspace
from tests.conftest import PASSWORD


def code_in(body: str) -> str:
    """Return the code of a letter, for example ``TQQG-BFNJ``."""
    found = re.search(r"^\s*([A-Z0-9]{3,}(?:-[A-Z0-9]{3,})?)\s*$", body, re.MULTILINE)
    assert found, body
    return found[1]


def sign_up(client: Client, email: str = "Dora@example.org", **extra: str) -> Any:
    return client.post("/accounts/signup/", {"email": email, "password1": PASSWORD, **extra})


def test_signing_up_proves_the_address_and_leads_to_a_workspace_of_ones_own(db: None) -> None:
    client = Client()
    assert sign_up(client).status_code == 302
    assert "_auth_user_id" not in client.session, "an unproved address must not be logged in"
    (letter,) = mail.outbox
    assert letter.to == ["dora@example.org"]
    assert "voicecloud, http://127.0.0.1:8000" in letter.body
    page = client.post("/accounts/confirm-email/", {"code": code_in(letter.body)}, follow=True)
    user = User.objects.get(email="dora@example.org")
    workspace = Workspace.objects.get()
    assert workspace.personal and workspace.memberships.get(user=user).role == Role.OWNER
    assert page.redirect_chain[-1][0] == f"/w/{workspace.slug}/"
    assert page.status_code == 200


def test_a_wrong_code_does_not_log_in(db: None) -> None:
    client = Client()
    sign_up(client)
    assert client.post("/accounts/confirm-email/", {"code": "AAAA-AAAA"}).status_code == 200
    assert "_auth_user_id" not in client.session


def test_no_person_is_left_when_their_workspace_cannot_be_made(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(adapter, "create_workspace", fail)
    with pytest.raises(RuntimeError):
        sign_up(Client())
    assert not User.objects.exists()


def test_signing_up_with_a_known_address_does_not_tell_that_it_is_known(alice: Any) -> None:
    known, unknown = Client(), Client()
    a, b = sign_up(known, "alice@example.org"), sign_up(unknown, "new@example.org")
    assert (a.status_code, a["Location"]) == (b.status_code, b["Location"])
    assert User.objects.filter(email="alice@example.org").count() == 1


@pytest.mark.parametrize("password", ["short", "12345678901", "password", "dora@example.org"])
def test_weak_passwords_are_refused_with_a_reason(db: None, password: str) -> None:
    page = Client().post("/accounts/signup/", {"email": "dora@example.org", "password1": password})
    assert page.status_code == 200
    assert page.context["form"].errors["password1"]
    assert not User.objects.exists()


def test_two_people_of_one_name_get_different_addresses(db: None) -> None:
    for host in ("a.example", "b.example"):
        sign_up(Client(), f"sam@{host}")
    slugs = set(Workspace.objects.values_list("slug", flat=True))
    assert len(slugs) == 2 and "sam" in slugs


def test_a_forgotten_password_is_set_anew_by_letter(alice: Any) -> None:
    client = Client()
    assert client.post("/accounts/password/reset/", {"email": "alice@example.org"}).status_code == 302
    link = re.search(r"https?://\S+(/accounts/password/reset/key/\S+)", mail.outbox[0].body)
    assert link
    form = client.get(link[1], follow=True)
    client.post(form.redirect_chain[-1][0], {"password1": "another-good-one-9", "password2": "another-good-one-9"})
    alice.refresh_from_db()
    assert alice.check_password("another-good-one-9")


def test_one_can_log_in_by_a_code_in_a_letter(alice: Any) -> None:
    client = Client()
    client.post("/accounts/login/code/", {"email": "alice@example.org"})
    client.post("/accounts/login/code/confirm/", {"code": code_in(mail.outbox[0].body)})
    assert client.session["_auth_user_id"] == str(alice.pk)


def test_logging_out_needs_a_post(alice: Any, client_of: Callable[[Any], Client]) -> None:
    client = client_of(alice)
    assert client.get("/accounts/logout/").status_code == 200
    assert "_auth_user_id" in client.session
    client.post("/accounts/logout/")
    assert "_auth_user_id" not in client.session


def test_a_mail_server_that_fails_is_said_and_the_log_in_sends_another_code(db: None, settings: Any) -> None:
    working = settings.EMAIL_BACKEND
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    client = Client()
    answer = sign_up(client)
    assert answer.status_code == 503 and "could not be sent just now" in answer.content.decode()
    settings.EMAIL_BACKEND = working
    cache.clear()
    client.post("/accounts/login/", {"login": "dora@example.org", "password": PASSWORD})
    client.post("/accounts/confirm-email/", {"code": code_in(mail.outbox[-1].body)})
    assert client.session["_auth_user_id"] == str(User.objects.get().pk)
