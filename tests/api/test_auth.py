"""The door for programs: which keys open it, what is said to the others, and who is put off."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as site
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.utils import timezone
from redis import Redis

from apps import logs
from apps.accounts import keys, services
from apps.accounts.models import ApiKey, Scope
from apps.api import auth, limits, throttle
from apps.errors import Refused
from apps.jobs import counters
from voicecloud.middleware import RefusedMiddleware

HERE = "198.51.100.7"
WRONG = "vc_" + "x" * 43


@pytest.fixture
def made(acme: Any, bob: Any) -> tuple[ApiKey, str]:
    return keys.issue(membership=acme.memberships.get(user=bob), name="CI", scope="create")


@pytest.fixture
def token(made: tuple[ApiKey, str]) -> str:
    return made[1]


def asking(token: str, address: str = HERE, **more: Any) -> HttpRequest:
    return RequestFactory().get("/api/v1/voices", headers={"X-API-Key": token}, REMOTE_ADDR=address, **more)


def refusal(request: HttpRequest) -> Refused:
    with pytest.raises(Refused) as refused:
        auth.authenticate(request)
    return refused.value


def use_up(address: str = HERE) -> None:
    for _ in range(throttle.FAILURES):
        assert refusal(asking(WRONG, address)).status == 401


@pytest.mark.parametrize("header", ["X-API-Key", "xi-api-key"])
def test_a_key_opens_its_workspace_as_its_maker(token: str, acme: Any, bob: Any, header: str) -> None:
    caller = auth.authenticate(RequestFactory().get("/", headers={header: f" {token} "}))
    assert (caller.workspace, caller.user) == (acme, bob)
    assert keys.in_use.get() == caller.key and logs.workspace.get() == "acme"
    assert ApiKey.objects.get().last_used_at is not None


@pytest.mark.parametrize("written", ["Bearer {}", "bearer  {}", "BEARER {}"])
def test_a_bearer_token_too(token: str, acme: Any, written: str) -> None:
    request = RequestFactory().get("/", headers={"Authorization": written.format(token)})
    assert auth.authenticate(request).workspace == acme


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Basic eDp5"}, {"X-API-Key": ""}, {"Authorization": "Bearer "}]
)
def test_without_a_key_it_says_how_to_send_one(db: None, headers: dict[str, str]) -> None:
    refused = refusal(RequestFactory().get("/", headers=headers))
    assert refused.status == 401 and "Bearer vc_" in refused.message
    assert refused.headers["WWW-Authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize(
    "how", ["revoked", "expired", "member gone", "workspace deleted", "person inactive", "changed"]
)
def test_what_opens_nothing_any_more(made: tuple[ApiKey, str], acme: Any, alice: Any, bob: Any, how: str) -> None:
    key, token = made
    assert keys.caller_of(token) is not None
    match how:
        case "revoked":
            keys.revoke(key=key, user=bob)
        case "expired":
            ApiKey.objects.update(expires_at=timezone.now())
        case "member gone":
            services.remove_member(membership=acme.memberships.get(user=bob), user=alice)
        case "workspace deleted":
            services.delete_workspace(workspace=acme, user=alice)
        case "person inactive":
            type(bob).objects.filter(pk=bob.pk).update(is_active=False)
        case "changed":
            token = token[:-1] + ("a" if token[-1] != "a" else "b")
    refused = refusal(asking(token))
    assert refused.status == 401 and refused.message == auth.UNKNOWN
    assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("scope", "who", "allowed"),
    [
        ("read", "alice", {"viewer"}),
        ("create", "alice", {"viewer", "editor"}),
        ("admin", "alice", {"viewer", "editor", "admin"}),
        ("admin", "victor", {"viewer"}),
        ("create", "victor", {"viewer"}),
    ],
)
def test_a_key_may_the_lesser_of_scope_and_role(
    acme: Any, request: Any, scope: str, who: str, allowed: set[str]
) -> None:
    user = request.getfixturevalue(who)
    _, token = keys.issue(membership=acme.memberships.get(user=user), name="CI", scope="read")
    ApiKey.objects.update(scope=Scope(scope))  # as before its maker's role was lowered
    caller = auth.authenticate(asking(token))
    for role in ("viewer", "editor", "admin", "owner"):
        if role in allowed:
            auth.require(caller, role)
        else:
            with pytest.raises(Refused, match="key whose scope") as refused:
                auth.require(caller, role)
            assert refused.value.status == 403


def test_after_a_rotation_both_open_for_the_overlap(made: tuple[ApiKey, str], bob: Any) -> None:
    key, old = made
    new = keys.rotate(key=key, user=bob, overlap=timedelta(hours=1))
    assert keys.caller_of(old) is not None and keys.caller_of(new) is not None
    ApiKey.objects.update(old_key_until=timezone.now())
    assert keys.caller_of(old) is None and keys.caller_of(new) is not None


def test_an_address_with_many_wrong_keys_is_put_off_before_the_database_is_asked(
    db: None, django_assert_num_queries: Any
) -> None:
    use_up()
    with django_assert_num_queries(0):
        refused = refusal(asking(WRONG))
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= throttle.SECONDS // throttle.FAILURES
    assert refusal(asking(WRONG, "198.51.100.8")).status == 401, "other addresses are not"


def test_a_key_that_works_still_does_beside_many_that_do_not(token: str, made: tuple[ApiKey, str], bob: Any) -> None:
    auth.authenticate(asking(token, "192.0.2.1"))  # lately, from wherever
    use_up()
    assert auth.authenticate(asking(token)).user == bob
    keys.revoke(key=made[0], user=bob)
    assert refusal(asking(token)).status == 401
    assert refusal(asking(token)).status == 429, "once it opens nothing it is one of the others"


def test_a_key_of_which_nothing_is_known_waits_seconds(token: str) -> None:
    use_up()
    assert refusal(asking(token)).status == 429
    level = limits.ask([throttle._bucket(HERE)], count=0).refusing
    assert level is not None and level.wait <= 15
    throttle.accepted(token)  # as the page that makes a key does
    auth.authenticate(asking(token))


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("", "unknown"),
    ],
)
def test_whom_failures_are_counted_for(address: str, counted: str) -> None:
    assert throttle.address_of(asking("x", address)) == counted


def test_behind_a_proxy_its_word_counts_and_nobody_elses(settings: Any) -> None:
    request = asking("x", "10.0.0.1", HTTP_X_FORWARDED_FOR="203.0.113.9, 198.51.100.7")
    assert throttle.address_of(request) == "10.0.0.1"
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    assert throttle.address_of(request) == "198.51.100.7"


def test_failures_are_logged_and_counted_without_the_key(
    made: tuple[ApiKey, str], bob: Any, caplog: pytest.LogCaptureFixture
) -> None:
    key, token = made
    keys.revoke(key=key, user=bob)
    with caplog.at_level(logging.INFO):
        refusal(asking(token))
        refusal(asking("hunter2-my-password"))
        refusal(asking("vc_short-and-somebodys-password"))
    assert key.start in caplog.text and HERE in caplog.text
    assert token not in caplog.text and token[10:20] not in caplog.text and key.key_hash not in caplog.text
    assert "password" not in caplog.text and caplog.text.count("of another form") == 2
    assert counters.totals(Redis.from_url(site.REDIS_URL))[("api_key_failures",)] == 3


def test_being_put_off_is_logged(db: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        use_up()
    assert f"API keys from {HERE} are put off" in caplog.text


def test_without_redis_keys_open_as_ever(
    token: str, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    monkeypatch.setattr(limits, "_complained_at", float("-inf"))
    with caplog.at_level(logging.WARNING):
        auth.authenticate(asking(token))
        for _ in range(throttle.FAILURES + 1):
            assert refusal(asking(WRONG)).status == 401
    assert "requests are not limited: Redis is away" in caplog.text and token not in caplog.text


def test_what_goes_with_a_refusal_is_sent(rf: RequestFactory) -> None:
    middleware = RefusedMiddleware(lambda request: HttpResponse())
    no = Refused("Too many.", status=429, headers={"Retry-After": "7"})
    answer = middleware.process_exception(rf.get("/", headers={"Accept": "application/json"}), no)
    assert answer is not None and answer.status_code == 429 and answer["Retry-After"] == "7"
