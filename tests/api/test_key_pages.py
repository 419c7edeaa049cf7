"""The pages on which members make, rotate and revoke keys; a secret is shown on one answer and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts import keys, services
from apps.accounts.models import ApiKey, AuditEvent
from apps.api import throttle
from tests.api import secrets

ClientOf = Callable[[Any], Client]
PAGE = "/w/acme/keys/"
TOKEN = re.compile(r"vc_[A-Za-z0-9_-]{43}")


def blank(client: Client, **fields: Any) -> dict[str, Any]:
    """Return the form of a new key as it was opened, with ``fields`` filled in."""
    form = client.get(f"{PAGE}new/").context["form"]
    return {"code": form["code"].value(), "name": "CI", "scope": "read", "lives": "", **fields}


def make(client: Client, **fields: Any) -> str:
    answer = client.post(f"{PAGE}new/", blank(client, **fields))
    assert answer.status_code == 201, answer.content.decode()
    (token,) = set(TOKEN.findall(answer.content.decode()))
    return token


@pytest.fixture
def made(acme: Any, bob: Any) -> tuple[ApiKey, str]:
    return keys.issue(membership=acme.memberships.get(user=bob), name="Bob's", scope="create")


def test_a_key_is_made_shown_once_and_works(acme: Any, bob: Any, client_of: ClientOf) -> None:
    client = client_of(bob)
    fields = blank(client, scope="create", lives="30", cap_convert_seconds="600", cap_train_minutes="0")
    answer = client.post(f"{PAGE}new/", fields)
    assert answer.status_code == 201 and "no-store" in answer["Cache-Control"]
    (token,) = TOKEN.findall(answer.content.decode())
    key = ApiKey.objects.get()
    assert (key.user, key.scope, key.caps) == (bob, "create", {"convert_seconds": 600, "train_minutes": 0})
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    caller = keys.caller_of(token)
    assert caller is not None and caller.workspace == acme
    assert throttle._is_known(token)
    page = client.get(PAGE).content.decode()
    assert key.start in page and "10 min of conversion a period" in page and not TOKEN.search(page)


def test_sending_the_form_again_makes_and_shows_nothing(acme: Any, bob: Any, client_of: ClientOf) -> None:
    client = client_of(bob)
    fields = blank(client)
    client.post(f"{PAGE}new/", fields)
    again = client.post(f"{PAGE}new/", fields, follow=True)
    assert again.redirect_chain == [(PAGE, 302)] and "shown only once" in again.content.decode()
    assert ApiKey.objects.count() == 1 and not TOKEN.search(again.content.decode())


def test_the_secret_is_in_no_session_no_message_and_no_cache(bob: Any, acme: Any, client_of: ClientOf) -> None:
    client = client_of(bob)
    token = make(client)
    assert token not in str(dict(client.session)) and token not in str(client.cookies)
    assert secrets.in_redis(token) == []


@pytest.mark.parametrize(("who", "scopes"), [("victor", 1), ("bob", 2), ("adam", 3), ("alice", 3)])
def test_nobody_makes_a_key_that_may_more_than_themselves(
    acme: Any, client_of: ClientOf, request: Any, who: str, scopes: int
) -> None:
    client = client_of(request.getfixturevalue(who))
    for place, scope in enumerate(("read", "create", "admin")):
        answer = client.post(f"{PAGE}new/", blank(client, scope=scope))
        assert answer.status_code == (201 if place < scopes else 422), scope
    assert ApiKey.objects.count() == scopes


@pytest.mark.parametrize(
    "wrong", [{"name": ""}, {"name": "x" * 81}, {"lives": "31"}, {"cap_convert_seconds": "-1"}, {"code": "x"},
              {"scope": "owner"}, {"cap_convert_seconds": "9" * 30}]
)  # fmt: skip
def test_a_wrong_form_makes_nothing(acme: Any, bob: Any, client_of: ClientOf, wrong: dict[str, str]) -> None:
    client = client_of(bob)
    answer = client.post(f"{PAGE}new/", blank(client, **wrong))
    assert answer.status_code == 422 and not ApiKey.objects.exists()


def test_the_number_of_keys_is_bounded(
    acme: Any, bob: Any, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "KEYS_MAX", 1)
    client = client_of(bob)
    make(client)
    answer = client.post(f"{PAGE}new/", blank(client))
    assert answer.status_code == 422 and "at most 1 API keys" in answer.content.decode()


def test_nobody_takes_the_keys_of_others_and_what_has_expired_does_not_count(
    acme: Any, bob: Any, victor: Any, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "KEYS_MAX", 1)
    make(client_of(victor), name="Victor's")
    make(client_of(bob))
    ApiKey.objects.filter(user=bob).update(expires_at=timezone.now() - timedelta(seconds=1))
    make(client_of(bob), name="Another")
    assert ApiKey.objects.count() == 3


def test_members_see_their_own_keys_admins_all(
    made: tuple[ApiKey, str], bob: Any, victor: Any, adam: Any, client_of: ClientOf
) -> None:
    make(client_of(victor), name="Victor's")
    assert "Bob&#x27;s" in client_of(bob).get(PAGE).content.decode()
    assert "Victor&#x27;s" not in client_of(bob).get(PAGE).content.decode()
    page = client_of(adam).get(PAGE).content.decode()
    assert "Victor&#x27;s" in page and "of Bob" in page
    assert "/rotate/" not in page, "nobody gets at another member's secret"


def test_of_others_members_reach_nothing_and_admins_only_the_end(
    made: tuple[ApiKey, str], victor: Any, adam: Any, client_of: ClientOf
) -> None:
    key, token = made
    for client, rotate, revoke in ((client_of(victor), 404, 404), (client_of(adam), 404, 302)):
        assert client.get(f"{PAGE}{key.code}/rotate/").status_code == rotate
        fields = {"start": key.start, "overlap": "0"}
        assert client.post(f"{PAGE}{key.code}/rotate/", fields).status_code == rotate
        assert client.post(f"{PAGE}{key.code}/revoke/").status_code == revoke
    assert keys.caller_of(token) is None
    assert AuditEvent.objects.get(action="api_key.revoked").user == adam


@pytest.mark.parametrize(("hours", "old_works"), [("0", False), ("1", True), ("24", True), ("168", True)])
def test_rotation_leaves_the_old_one_for_the_chosen_time(
    made: tuple[ApiKey, str], bob: Any, client_of: ClientOf, hours: str, old_works: bool
) -> None:
    key, old = made
    client = client_of(bob)
    address = f"{PAGE}{key.code}/rotate/"
    fields = {"start": client.get(address).context["form"]["start"].value(), "overlap": hours}
    answer = client.post(address, fields)
    assert answer.status_code == 201 and "no-store" in answer["Cache-Control"]
    (new,) = TOKEN.findall(answer.content.decode())
    assert keys.caller_of(new) is not None and (keys.caller_of(old) is not None) == old_works
    again = client.post(address, fields)
    assert again.status_code == 302 and keys.caller_of(new) is not None, "sent twice, it is done once"
    ApiKey.objects.update(old_key_until=timezone.now())
    assert keys.caller_of(old) is None


def test_of_two_rotations_at_once_one_is_done(made: tuple[ApiKey, str], bob: Any) -> None:
    from apps.errors import Refused

    key, _ = made
    same = ApiKey.objects.get(pk=key.pk)
    new = keys.rotate(key=key, user=bob, overlap=timedelta(hours=1))
    with pytest.raises(Refused):
        keys.rotate(key=same, user=bob, overlap=timedelta(hours=1))
    assert keys.caller_of(new) is not None


def test_revoking_is_asked_first_and_is_for_good(made: tuple[ApiKey, str], bob: Any, client_of: ClientOf) -> None:
    key, token = made
    client = client_of(bob)
    address = f"{PAGE}{key.code}/revoke/"
    assert "cannot be undone" in client.get(address).content.decode() and keys.caller_of(token) is not None
    assert client.post(address).status_code == 302
    assert keys.caller_of(token) is None
    assert client.get(f"{PAGE}{key.code}/rotate/").status_code == 409
    page = client.post(address, follow=True).content.decode()
    assert "was revoked already" in page and "Keys that have ended" in page
    assert AuditEvent.objects.filter(action="api_key.revoked").count() == 1


def test_who_goes_takes_no_key_along(
    made: tuple[ApiKey, str], acme: Any, bob: Any, victor: Any, alice: Any, client_of: ClientOf
) -> None:
    make(client_of(victor))
    services.remove_member(membership=acme.memberships.get(user=bob), user=alice)
    services.remove_member(membership=acme.memberships.get(user=victor), user=victor)
    assert not ApiKey.objects.filter(revoked_at=None).exists()
    assert list(AuditEvent.objects.filter(action="api_key.revoked").values_list("user", flat=True)) == [
        victor.pk,
        alice.pk,
    ]


def test_a_lesser_role_lessens_the_key(made: tuple[ApiKey, str], acme: Any, bob: Any, client_of: ClientOf) -> None:
    services.change_role(membership=acme.memberships.get(user=bob), user=acme.memberships.get(role="owner").user,
                         role="viewer")  # fmt: skip
    caller = keys.caller_of(made[1])
    assert caller is not None and caller.may("viewer") and not caller.may("editor")
    assert "role goes, which is less" in client_of(bob).get(PAGE).content.decode()


def test_expired_keys_are_told_apart(made: tuple[ApiKey, str], bob: Any, client_of: ClientOf) -> None:
    ApiKey.objects.update(expires_at=timezone.now())
    page = client_of(bob).get(PAGE).content.decode()
    assert "No keys yet" in page and "Expired" in page


def test_the_empty_page_shows_how_a_program_asks(acme: Any, bob: Any, client_of: ClientOf) -> None:
    page = client_of(bob).get(PAGE).content.decode()
    assert "Authorization: Bearer $VOICECLOUD_KEY" in page and "/api/v1/voices" in page


def test_every_step_is_written_down(acme: Any, bob: Any, client_of: ClientOf) -> None:
    client = client_of(bob)
    token = make(client, scope="create", lives="7")
    key = ApiKey.objects.get()
    client.post(f"{PAGE}{key.code}/rotate/", {"start": key.start, "overlap": "24"})
    client.post(f"{PAGE}{key.code}/revoke/")
    lines = list(AuditEvent.objects.order_by("pk").filter(action__startswith="api_key."))
    assert [line.action for line in lines] == ["api_key.created", "api_key.rotated", "api_key.revoked"]
    assert all(line.user == bob and line.target == "CI" and line.data["code"] == str(key.code) for line in lines)
    assert lines[0].data["scope"] == "create" and lines[0].data["expires_at"] and token not in str(lines[0].data)
    assert lines[1].data["overlap_seconds"] == 86_400
