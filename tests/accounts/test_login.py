from __future__ import annotations

import re
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from cryptography.fernet import InvalidToken
from django.core import mail
from django.core.cache import cache
from django.test import Client

from apps.accounts.adapter import SecondFactorAdapter
from tests.conftest import PASSWORD

LOGIN = "/accounts/login/"


def log_in(client: Client, password: str = PASSWORD, email: str = "alice@example.org") -> Any:
    return client.post(LOGIN, {"login": email, "password": password})


def confirm(client: Client) -> Any:
    """Give the password once more, as pages that guard the log-in ask."""
    return client.post("/accounts/reauthenticate/", {"password": PASSWORD})


def totp(secret: str) -> str:
    """Return the code that an authenticator app shows now."""
    return str(format_hotp_value(hotp_value(secret, next(iter(yield_hotp_counters_from_time())))))


def recovery_codes(user: Any) -> list[str]:
    """Return the codes that still work."""
    return list(Authenticator.objects.get(user=user, type="recovery_codes").wrap().get_unused_codes())


@pytest.fixture
def protected(alice: Any) -> tuple[Any, str]:
    """Alice with an authenticator app, set up through the pages; returns her and the secret."""
    client = Client()
    log_in(client)
    confirm(client)
    page = client.get("/accounts/2fa/totp/activate/")
    secret = page.context["form"].secret
    assert client.post("/accounts/2fa/totp/activate/", {"code": totp(secret)}).status_code == 302
    return alice, secret


def test_the_right_password_logs_in(alice: Any) -> None:
    client = Client()
    assert log_in(client)["Location"] == "/dashboard/"


def test_guessing_one_persons_password_is_stopped_even_with_the_right_one(alice: Any) -> None:
    client = Client()
    pages = [log_in(client, f"wrong-{n}") for n in range(6)]
    assert "Too many failed login attempts" in pages[-1].content.decode()
    assert "_auth_user_id" not in client.session
    assert "Too many failed login attempts" in log_in(client).content.decode()


def test_flooding_the_log_in_page_is_answered_429(alice: Any) -> None:
    client = Client()
    answers = [log_in(client, "wrong", f"nobody{n}@example.org").status_code for n in range(31)]
    assert answers[-1] == 429
    assert "Too many tries" in log_in(client).content.decode()


def test_the_second_factor_is_asked_for_and_its_code_logs_in(protected: tuple[Any, str]) -> None:
    user, secret = protected
    client = Client()
    assert log_in(client)["Location"] == "/accounts/2fa/authenticate/"
    assert "_auth_user_id" not in client.session
    assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
    cache.clear()  # a code works once, and the one shown now was used to set up
    client.post("/accounts/2fa/authenticate/", {"code": totp(secret)})
    assert client.session["_auth_user_id"] == str(user.pk)


def test_a_recovery_code_logs_in_once(protected: tuple[Any, str]) -> None:
    user, _ = protected
    recovery = recovery_codes(user)[0]
    first, second = Client(), Client()
    log_in(first)
    first.post("/accounts/2fa/authenticate/", {"code": recovery})
    assert first.session["_auth_user_id"] == str(user.pk)
    log_in(second)
    assert second.post("/accounts/2fa/authenticate/", {"code": recovery}).status_code == 200
    assert "_auth_user_id" not in second.session


def test_second_factor_secrets_are_stored_encrypted_and_survive_a_new_key(
    protected: tuple[Any, str], settings: Any
) -> None:
    user, secret = protected
    stored = Authenticator.objects.get(user=user, type="totp").data["secret"]
    assert secret not in stored
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the-next-one-" * 5
    adapter = SecondFactorAdapter()
    assert adapter.decrypt(stored) == secret
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(InvalidToken):
        adapter.decrypt(stored)


def test_a_change_of_the_log_in_is_told_by_letter_and_stands_without_it(alice: Any, settings: Any) -> None:
    for expected, backend in ((1, settings.EMAIL_BACKEND), (1, "django.core.mail.backends.smtp.EmailBackend")):
        settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = backend, "127.0.0.1", 1
        client = Client()
        client.force_login(alice)
        new = f"a-new-one-{backend[-12:]}"
        change = {"oldpassword": PASSWORD, "password1": new, "password2": new}
        assert client.post("/accounts/password/change/", change).status_code == 302
        assert len(mail.outbox) == expected and "password" in mail.outbox[0].body.lower()
        alice.refresh_from_db()
        assert alice.check_password(new)
        alice.set_password(PASSWORD)
        alice.save()


def test_the_sessions_page_lists_and_ends_the_others(alice: Any) -> None:
    here, there = Client(headers={"User-Agent": "Here/1"}), Client(headers={"User-Agent": "There/1"})
    log_in(here)
    log_in(there)
    page = here.get("/accounts/sessions/").content.decode()
    assert "Here/1" in page and "There/1" in page
    here.post("/accounts/sessions/")
    assert there.get("/settings/").status_code == 302
    assert here.get("/settings/").status_code == 200


def test_staff_log_in_where_everybody_does(alice: Any) -> None:
    assert Client().get("/admin/login/")["Location"].startswith(LOGIN)


PAGES = [
    "login/", "signup/", "password/reset/", "password/reset/done/", "login/code/", "inactive/",
    "email/", "password/change/", "2fa/", "2fa/totp/activate/", "sessions/", "logout/", "reauthenticate/",
]  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_allauth_stands_in_our_own_frame(alice: Any, page: str) -> None:
    client = Client()
    if page not in PAGES[:6]:
        log_in(client)
        confirm(client)
    answer = client.get(f"/accounts/{page}", follow=True)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert '<main class="page page-narrow" id="main"' in html
    assert "Menu:" not in html and "<p><label" not in html
    assert not re.search(r"<script(?![^>]*(?:src=|application/json))|\sstyle=|\son\w+=", html)


def test_recovery_codes_are_shown_in_our_frame(protected: tuple[Any, str]) -> None:
    user, _ = protected
    client = Client()
    log_in(client)
    recovery = recovery_codes(user)[0]
    client.post("/accounts/2fa/authenticate/", {"code": recovery})
    client.post("/accounts/2fa/reauthenticate/", {"code": recovery_codes(user)[0]})
    html = client.get("/accounts/2fa/recovery-codes/").content.decode()
    assert "Unused codes" in html and 'id="main"' in html
