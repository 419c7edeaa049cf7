"""Every address, tried by everybody: nobody logs in first, a stranger finds nothing, a lesser member is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, path, reverse
from django.urls.resolvers import RegexPattern

from tests.holdings import fill
from tests.received import received

PEOPLE = ["nobody", "stranger", "viewer", "editor", "admin", "owner"]
ANYBODY, PERSON = "anybody", "person"

# Address -> method -> the least role that may; "anybody" and "person" (somebody logged in) own no workspace.
TABLE: dict[str, dict[str, str]] = {
    "pages:home": {"GET": ANYBODY},
    "pages:pricing": {"GET": ANYBODY},
    "pages:healthz": {"GET": ANYBODY},
    "pages:readyz": {"GET": ANYBODY},
    "pages:metrics": {"GET": ANYBODY},  # the token is the key: tests/pages/test_metrics.py
    "pages:dashboard": {"GET": PERSON},
    "pages:settings": {"GET": PERSON, "POST": PERSON},
    "pages:workspace": {"GET": "viewer"},
    "pages:export": {"GET": "admin", "POST": "admin"},
    "accounts:new_workspace": {"GET": PERSON, "POST": PERSON},
    "accounts:restore": {"POST": PERSON},  # finds only what one owns: tests/accounts/test_team.py
    "accounts:invitation": {"GET": ANYBODY, "POST": ANYBODY},  # the token is the key: test_invitations.py
    "accounts:team": {"GET": "viewer"},
    "accounts:invite": {"POST": "admin"},
    "accounts:withdraw": {"POST": "admin"},
    "accounts:leave": {"POST": "viewer"},
    "accounts:transfer": {"POST": "owner"},
    "accounts:role": {"POST": "admin"},
    "accounts:remove": {"POST": "admin"},
    "accounts:settings": {"GET": "viewer", "POST": "admin"},
    "accounts:delete": {"POST": "owner"},
    "accounts:erase": {"POST": "owner"},
    "accounts:erase_account": {"GET": PERSON, "POST": PERSON},
    "accounts:audit": {"GET": "admin"},
    "rest:docs": {"GET": ANYBODY},
    "rest:openapi": {"GET": ANYBODY},
    "billing:plan": {"GET": "viewer"},
    "billing:usage": {"GET": "viewer"},
    "billing:invoices": {"GET": "admin"},
    "stripe-webhook": {"POST": ANYBODY},  # the signature is the key: tests/billing/test_stripe_events.py
    "billing:checkout": {"POST": "admin"},
    "billing:top-up": {"POST": "admin"},
    "billing:portal": {"POST": "admin"},
    "billing:change": {"POST": "admin"},
    "billing:cancel": {"POST": "admin"},
    "billing:resume": {"POST": "admin"},
    "billing:done": {"GET": "admin"},
    "webhooks:list": {"GET": "admin"},
    "webhooks:new": {"GET": "admin", "POST": "admin"},
    "webhooks:detail": {"GET": "admin"},
    "webhooks:edit": {"GET": "admin", "POST": "admin"},
    "webhooks:enable": {"POST": "admin"},
    "webhooks:disable": {"POST": "admin"},
    "webhooks:delete": {"POST": "admin"},
    "webhooks:secret": {"POST": "admin"},
    "webhooks:rotate": {"POST": "admin"},
    "webhooks:test": {"POST": "admin"},
    "webhooks:replay-failed": {"POST": "admin"},
    "webhooks:delivery": {"GET": "admin"},
    "webhooks:replay": {"POST": "admin"},
    "api:keys": {"GET": "viewer"},
    "api:key-new": {"GET": "viewer", "POST": "viewer"},
    "api:key-rotate": {"GET": "viewer", "POST": "viewer"},
    "api:key-revoke": {"GET": "viewer", "POST": "viewer"},
    "jobs:list": {"GET": "viewer"},
    "jobs:detail": {"GET": "viewer"},
    "jobs:card": {"GET": "viewer"},
    "jobs:cancel": {"POST": "editor"},
    "jobs:artifact": {"GET": "viewer"},
    "voices:list": {"GET": "viewer"},
    "voices:new": {"GET": "editor", "POST": "editor"},
    "voices:detail": {"GET": "viewer"},
    "voices:edit": {"GET": "editor", "POST": "editor"},
    "voices:choose": {"POST": "editor"},
    "voices:delete": {"GET": "admin", "POST": "admin"},
    "voices:preflight": {"GET": "viewer"},
    "voices:record": {"GET": "editor"},
    "voices:add": {"POST": "editor"},
    "voices:recording": {"GET": "viewer"},
    "voices:recording-audio": {"GET": "viewer"},
    "voices:recording-delete": {"POST": "editor"},
    "voices:direct": {"POST": "editor"},
    "voices:direct-finish": {"POST": "editor"},
    "voices:uploads": {"POST": "editor", "OPTIONS": "editor"},
    "voices:upload": {"HEAD": "editor", "PATCH": "editor", "DELETE": "editor"},
    "voices:take-audio": {"GET": "viewer"},
    "voices:take-drop": {"POST": "editor"},
    "voices:consent": {"GET": "editor", "POST": "editor"},
    "voices:consent-withdraw": {"POST": "editor"},
    "voices:consent-audio": {"GET": "viewer"},
    "voices:train": {"GET": "editor", "POST": "editor"},
    "voices:instant": {"POST": "editor"},
    "voices:model": {"GET": "viewer"},
    "voices:model-resources": {"GET": "viewer"},
    "voices:model-activate": {"POST": "editor"},
    "voices:model-delete": {"POST": "editor"},
    "studio:convert": {"GET": "viewer", "POST": "editor"},
    "studio:cost": {"GET": "editor"},
    "studio:conversion": {"GET": "viewer"},
    "studio:source": {"GET": "viewer"},
    "studio:again": {"GET": "editor"},
    "studio:keep": {"POST": "editor"},
    "studio:delete": {"POST": "editor"},
    "studio:preset_save": {"POST": "editor"},
    "studio:preset_delete": {"POST": "editor"},
}
# What a plain <code> in an address is the code of.
CODE_OF = {
    "accounts:restore": "workspace",
    "accounts:withdraw": "invitation",
    "accounts:role": "membership",
    "accounts:remove": "membership",
    "webhooks:delivery": "delivery",
    "webhooks:replay": "delivery",
    "webhooks": "endpoint",
    "api": "api_key",
    "jobs:artifact": "artifact",
    "studio:preset_delete": "preset",
    "jobs": "job",
    "studio": "conversion",
}
# What members reach as those who made it: tests/api/test_key_pages.py has what they reach of others.
OWN = {"api:key-rotate": "api_key", "api:key-revoke": "api_key"}
# Files as they were stored, by address.
FILES = {
    "jobs:artifact": "artifact",
    "voices:recording-audio": "recording",
    "voices:take-audio": "take",
    "voices:consent-audio": "consent",
    "studio:source": "source",
}
SOCKETS = {"ws-jobs": "viewer"}
# allauth's pages for who is not logged in yet; all its others must send nobody to log in.
ENTRANCES = {
    "account_login",
    "account_logout",
    "account_signup",
    "account_inactive",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_email_verification_sent",
    "account_request_login_code",
    "account_confirm_login_code",
    "mfa_authenticate",
}


def addresses(resolver: URLResolver, namespace: str = "", route: str = "") -> Iterator[tuple[str, str, URLPattern]]:
    """Yield (name with its namespace, route, pattern) of every address below ``resolver``."""
    for entry in resolver.url_patterns:
        here = route + str(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from addresses(entry, inner, here)
        else:
            yield f"{namespace}{entry.name}", here, entry


def is_foreign(route: str) -> bool:
    """Say whether allauth or the admin owns the address: those follow a rule by prefix."""
    return route.startswith(("accounts/", "admin/"))


def is_operation(name: str) -> bool:
    """Say whether the address is an operation of an API, which a key opens: tests/api/test_*_tenancy.py."""
    return name.startswith(("rest:v1:", "compat:"))


def without_a_row(resolver: URLResolver) -> set[str]:
    """Return the names of our own addresses that the table does not know."""
    return {name for name, route, _ in addresses(resolver) if not (is_foreign(route) or is_operation(name))} - set(
        TABLE
    )


PATTERNS = {name: pattern for name, _, pattern in addresses(get_resolver())}
ROUTES = {name: route for name, route, _ in addresses(get_resolver())}


def kwargs_for(name: str, held: dict[str, Any]) -> dict[str, Any]:
    """Return what the address needs, from what a workspace holds."""
    made: dict[str, Any] = {"slug": held["workspace"].slug, "token": "no-such-token"}
    for key in ("voice", "recording", "take", "consent", "upload", "model"):
        made[key] = held[key].code
    kind = CODE_OF.get(name) or CODE_OF.get(name.split(":")[0])
    if kind:
        made["code"] = held[kind].code
    return {key: made[key] for key in _parameters(name)}


def _parameters(name: str) -> list[str]:
    return [part.split(":")[-1] for part in ROUTES[name].replace(">", "<").split("<")[1::2]]


@pytest.fixture
def held(acme: Any, alice: Any) -> dict[str, Any]:
    """One of everything in acme."""
    return fill(acme, alice)


@pytest.fixture
def person(
    acme: Any, alice: Any, adam: Any, bob: Any, victor: Any, charlie: Any, client_of: Callable[[Any], Client]
) -> Callable[[str], Client]:
    """Return a function: role in acme -> a client logged in as who has it."""
    users = dict(zip(PEOPLE, [None, charlie, victor, bob, adam, alice], strict=True))
    return lambda who: client_of(users[who])


def ask(client: Client, name: str, method: str, kwargs: dict[str, Any], held: dict[str, Any]) -> Any:
    """Send the request with what its address cannot do without: a conversion's code, the upload protocol's version."""
    body = urlencode({"conversion": held["conversion"].code}) if method == "POST" else ""
    form = "application/x-www-form-urlencoded"
    return client.generic(method, reverse(name, kwargs=kwargs), body, form, headers={"Tus-Resumable": "1.0.0"})


def may(who: str, least: str) -> bool:
    if least in (ANYBODY, PERSON):
        return least == ANYBODY or who != "nobody"
    return PEOPLE.index(who) >= PEOPLE.index(least)


def goes_to_log_in(answer: Any) -> bool:
    return answer.status_code == 302 and answer["Location"].startswith("/accounts/login/")


@contextmanager
def undone() -> Iterator[None]:
    """Take back what is written inside, so that each person finds the same rows."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


CASES = [(name, method) for name, methods in TABLE.items() for method in methods]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_everybody_gets_exactly_what_their_role_allows(
    name: str, method: str, held: dict[str, Any], person: Callable[[str], Client]
) -> None:
    least = TABLE[name][method]
    for who in PEOPLE:
        with undone():
            client = person(who)
            if name in OWN and who not in ("nobody", "stranger"):
                type(held[OWN[name]]).objects.update(user=client.session["_auth_user_id"])
            answer = ask(client, name, method, kwargs_for(name, held), held)
        if may(who, least):
            assert not goes_to_log_in(answer), who
            assert answer.status_code < 500, (who, answer.status_code)
            if least not in (ANYBODY, PERSON):
                assert answer.status_code not in (403, 404, 405), (who, answer.status_code)
        elif who == "nobody":
            assert goes_to_log_in(answer), answer.status_code
        elif who == "stranger":
            assert answer.status_code == 404
            assert "Acme" not in answer.content.decode()
        else:
            assert answer.status_code == 403, (who, answer.status_code)


@pytest.mark.parametrize("name", TABLE)
def test_a_method_without_a_row_is_not_allowed(
    name: str, held: dict[str, Any], person: Callable[[str], Client]
) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - set(TABLE[name]):
        answer = ask(person("owner"), name, method, kwargs_for(name, held), held)
        assert answer.status_code == 405, (method, answer.status_code)


BY_CODE = [name for name in TABLE if "slug" in _parameters(name) and len(_parameters(name)) > 1]


@pytest.mark.parametrize("name", BY_CODE)
def test_another_workspaces_things_are_not_found_through_ones_own(
    name: str, held: dict[str, Any], charlies: Any, charlie: Any, client_of: Callable[[Any], Client]
) -> None:
    own = fill(charlies, charlie)
    needed = kwargs_for(name, held)
    mixes = [{**needed, "slug": charlies.slug}]
    if "voice" in needed and len(needed) > 2:
        mixes.append({**needed, "slug": charlies.slug, "voice": own["voice"].code})
    for mixed in mixes:
        for method in TABLE[name]:
            if (name, method) == ("voices:uploads", "OPTIONS"):
                continue  # says what the server can, of no voice in particular
            answer = ask(client_of(charlie), name, method, mixed, held)
            assert answer.status_code == 404, (method, mixed, answer.status_code)


@pytest.mark.parametrize("name", FILES)
def test_files_are_served_to_members_as_they_were_stored(
    name: str, held: dict[str, Any], person: Callable[[str], Client]
) -> None:
    row = held[FILES[name]]
    file = row.recording if name == "voices:consent-audio" else row.file
    answer = person("viewer").get(reverse(name, kwargs=kwargs_for(name, held)))
    sent = received(answer)
    assert sent.status == 200
    with file.open() as stored:
        assert sent.body == stored.read()
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_every_address_has_a_row_and_every_row_an_address() -> None:
    assert without_a_row(get_resolver()) == set()
    assert set(TABLE) - set(PATTERNS) == set()


def test_a_new_address_without_a_row_is_noticed() -> None:
    extra = path("w/<slug:slug>/secrets/", lambda request, slug: None, name="secrets")
    resolver = URLResolver(RegexPattern(r"^/"), [*get_resolver().url_patterns, extra])
    assert without_a_row(resolver) == {"secrets"}


FOREIGN = [(name, route) for name, route, _ in addresses(get_resolver()) if is_foreign(route)]
DUMMIES = {"uidb36": "1", "key": "x-y", "object_id": "1", "content_type_id": 1, "app_label": "accounts", "url": "x/y"}
DUMMIES |= {"token": "x", "job_id": "x", "result_id": "x", "scheduler_name": "x", "cron_job_name": "x"}
DUMMIES |= {"connection_index": 0, "id": 1, "user_id": 1, "queue_index": 0, "scheduler_index": 0}
DUMMIES |= {"code": uuid.UUID(int=0)}


@pytest.mark.parametrize(("name", "route"), [pair for pair in FOREIGN if pair[1].startswith("accounts/")])
def test_pages_about_oneself_send_nobody_to_log_in(db: None, name: str, route: str) -> None:
    parameters = {key: DUMMIES[key] for key in PATTERNS[name].pattern.regex.groupindex}
    for method in ("GET", "POST"):
        answer = Client().generic(method, reverse(name, kwargs=parameters))
        if name in ENTRANCES:
            assert answer.status_code in (200, 302, 303, 405)
        else:
            assert goes_to_log_in(answer), (method, answer.status_code)


@pytest.mark.parametrize("who", ["nobody", "stranger", "owner"])
def test_the_admin_is_for_staff_alone(who: str, held: dict[str, Any], person: Callable[[str], Client]) -> None:
    client = person(who)
    tried = 0
    for name, route in FOREIGN:
        if not route.startswith("admin/") or name in ("admin:login", "admin:logout", "admin:jsi18n"):
            continue
        parameters = {key: DUMMIES[key] for key in PATTERNS[name].pattern.regex.groupindex}
        address = reverse(name, kwargs=parameters) if PATTERNS[name].name else "/admin/x/"
        for method in ("GET", "POST"):
            answer = client.generic(method, address)
            assert answer.status_code in (302, 401, 403, 404), (address, method, answer.status_code)
            assert "/login/" in answer.get("Location", "/login/"), (address, answer["Location"])
            tried += 1
    assert tried > 50


def socket_of(address: str, client: Client) -> ApplicationCommunicator:
    """Return a socket that carries the client's session, opened from our own pages."""
    from voicecloud.asgi import application

    cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
    headers = [(b"origin", b"http://testserver"), (b"host", b"testserver")]
    if cookie:
        headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={cookie.value}".encode()))
    scope = {"type": "websocket", "path": address, "query_string": b"", "headers": headers, "subprotocols": []}
    return ApplicationCommunicator(application, scope)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", PEOPLE)
async def test_sockets_open_to_members_only(who: str, acme: Any, person: Callable[[str], Client]) -> None:
    client = await sync_to_async(person)(who)
    socket = socket_of("/ws/w/acme/jobs/", client)
    await socket.send_input({"type": "websocket.connect"})
    answer = await socket.receive_output(timeout=5)
    assert answer["type"] == ("websocket.accept" if may(who, SOCKETS["ws-jobs"]) else "websocket.close")
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait(timeout=5)


def test_every_socket_has_a_row() -> None:
    from voicecloud.asgi import websocket_urlpatterns

    assert {pattern.name for pattern in websocket_urlpatterns} == set(SOCKETS)


def test_codes_cannot_be_guessed(held: dict[str, Any]) -> None:
    for row in held.values():
        assert isinstance(row.code, uuid.UUID) and row.code.version == 4
