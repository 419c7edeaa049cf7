from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.checks import run_checks
from django.db import OperationalError
from django.test import Client, RequestFactory
from django.urls import get_resolver, reverse

from apps.errors import Refused
from tests.holdings import fill
from tests.test_tenancy import TABLE, is_foreign, kwargs_for
from tests.test_tenancy import addresses as all_addresses
from voicecloud import checks
from voicecloud.limits import BodyLimit

ROOT = Path(__file__).resolve().parent.parent
PAGES = [name for name, methods in TABLE.items() if "GET" in methods]


@pytest.fixture
def held(acme: Any, alice: Any) -> dict[str, Any]:
    return fill(acme, alice)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_the_headers_and_no_inline_code(
    name: str, held: dict[str, Any], alice: Any, client_of: Callable[[Any], Client]
) -> None:
    answer = client_of(alice).get(reverse(name, kwargs=kwargs_for(name, held)))
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Permissions-Policy"].startswith("microphone=(self)")
    assert re.fullmatch(r"[0-9a-f]{32}", answer["X-Request-ID"])
    if answer["Content-Type"].startswith("text/html"):
        html = answer.content.decode()
        assert not re.search(r"<script(?![^>]*(?:\bsrc=|application/json))", html), "inline script"
        assert not re.search(r"\sstyle=", html), "inline style"
        assert not re.search(r"\son[a-z]+=", html), "inline handler"
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html), "something from elsewhere"


# Sent by other servers, without cookies: their signature is asked for instead (tests/billing/test_stripe_events.py).
SIGNED = {"stripe-webhook"}


def test_every_post_of_the_site_wants_the_csrf_token(
    held: dict[str, Any], alice: Any, client_of: Callable[[Any], Client]
) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    for name, methods in TABLE.items():
        for method in set(methods) - {"GET", "HEAD", "OPTIONS"}:
            if name in SIGNED:
                continue
            answer = client.generic(method, reverse(name, kwargs=kwargs_for(name, held)))
            assert answer.status_code == 403, (name, method, answer.status_code)
            assert "too long" in answer.content.decode(), (name, method)


def test_every_post_of_allauth_wants_it_too(db: None) -> None:
    client = Client(enforce_csrf_checks=True)
    tried = 0
    for name, route, pattern in all_addresses(get_resolver()):
        if is_foreign(route) and route.startswith("accounts/") and not pattern.pattern.regex.groupindex:
            assert client.post(reverse(name)).status_code in (403, 405), name
            tried += 1
    assert tried > 15


def test_what_users_type_is_shown_as_text(held: dict[str, Any], alice: Any, client_of: Callable[[Any], Client]) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    held["workspace"].name = evil[:80]
    held["workspace"].save()
    for kind in ("voice", "recording", "source", "preset"):
        held[kind].name = evil[:60]
        held[kind].save()
    held["job"].title = held["job"].message = evil
    held["job"].save()
    alice.name = evil
    alice.save()
    client = client_of(alice)
    for name in PAGES:
        answer = client.get(reverse(name, kwargs=kwargs_for(name, held)))
        if answer["Content-Type"].startswith("text/html"):
            assert "<script>alert" not in answer.content.decode(), name
            assert "<img src=x" not in answer.content.decode(), name


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of a site whose home page fails with a secret in its message."""
    from apps.pages import views

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(views, "render", fail)
    return Client(raise_request_exception=False)


def test_our_faults_are_answered_generally_with_the_id_that_the_log_has(
    db: None, broken: Client, caplog: pytest.LogCaptureFixture
) -> None:
    answer = broken.get("/")
    html = answer.content.decode()
    assert answer.status_code == 500
    assert answer["X-Request-ID"] in html and "hunter2" not in html and "Traceback" not in html
    assert "hunter2" in caplog.text


def test_programs_and_fragments_get_faults_in_their_own_form(db: None, broken: Client) -> None:
    as_json = broken.get("/", headers={"Accept": "application/json"})
    assert as_json.status_code == 500 and as_json.json()["request_id"] == as_json["X-Request-ID"]
    fragment = broken.get("/", headers={"HX-Request": "true"})
    assert fragment.status_code == 500 and "<html" not in fragment.content.decode()


@pytest.mark.parametrize(
    "fault", [OperationalError("hunter2"), redis.ConnectionError("hunter2"), redis.TimeoutError("hunter2")]
)
@pytest.mark.parametrize("headers", [{}, {"Accept": "application/json"}, {"HX-Request": "true"}])
def test_while_a_server_is_away_the_answer_is_to_come_again(
    db: None, monkeypatch: pytest.MonkeyPatch, fault: Exception, headers: dict[str, str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr("apps.pages.views.render", fail)
    answer = Client(raise_request_exception=False).get("/", headers=headers)
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert "annot be reached" in answer.content.decode() and "hunter2" not in answer.content.decode()


@pytest.mark.parametrize(("accept", "kind"), [("text/html", "text/html"), ("application/json", "application/json")])
def test_a_refusal_is_a_page_or_json_with_its_sentence(db: None, accept: str, kind: str) -> None:
    from voicecloud.middleware import RefusedMiddleware

    request = RequestFactory().get("/", headers={"Accept": accept})
    answer = RefusedMiddleware(lambda _: None).process_exception(request, Refused("Do this.", status=409))  # type: ignore[arg-type,return-value]
    assert answer is not None and answer.status_code == 409
    assert answer["Content-Type"].startswith(kind) and b"Do this." in answer.content


def test_htmx_is_told_to_go_where_a_view_redirects(acme: Any, bob: Any, client_of: Callable[[Any], Client]) -> None:
    htmx = {"HX-Request": "true"}
    answer = client_of(bob).get("/dashboard/", headers=htmx)
    assert (answer.status_code, answer["HX-Redirect"]) == (200, "/w/acme/")
    answer = Client().get("/w/acme/", headers=htmx)
    assert (answer.status_code, answer["HX-Refresh"]) == (200, "true")


async def send(limit: BodyLimit, path: str, chunks: list[bytes], headers: list[tuple[bytes, bytes]]) -> tuple[int, int]:
    """Send a body in chunks; return the status and how many chunks were taken."""
    waiting = list(chunks)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def collect(message: Any) -> None:
        sent.append(message)

    await limit({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, collect)
    return sent[0]["status"], len(chunks) - len(waiting)


async def reader(scope: Any, receive: Any, send: Any) -> None:
    """Read a whole body, as Django does before any view."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})


def test_a_body_is_cut_off_at_its_limit_announced_or_not() -> None:
    limit = BodyLimit(reader, workspace=100, other=10)
    ten = [b"x"] * 10
    announced = [(b"content-length", b"11")]
    assert asyncio.run(send(limit, "/accounts/login/", ten, [])) == (200, 10)
    assert asyncio.run(send(limit, "/accounts/login/", [b"x"] * 50, [])) == (413, 11)
    assert asyncio.run(send(limit, "/accounts/login/", [b"x"] * 11, announced)) == (413, 0)
    assert asyncio.run(send(limit, "/w/acme/convert/", [b"x"] * 50, [])) == (200, 50)
    assert asyncio.run(send(limit, "/w/acme/convert/", [b"x"] * 500, [])) == (413, 101)


@pytest.mark.parametrize("path", ["/api/v1/sources", "/v1/voices/add"])
def test_who_shows_no_key_brings_no_files(path: str) -> None:
    limit, body = BodyLimit(reader, workspace=100, other=10), [b"x"] * 50
    assert asyncio.run(send(limit, path, body, [])) == (413, 11)
    for name in (b"authorization", b"x-api-key", b"xi-api-key"):
        assert asyncio.run(send(limit, path, body, [(name, b"vc_1")])) == (200, 50)


def test_the_site_itself_has_the_limit(db: None) -> None:
    from voicecloud.asgi import application

    app = application.application_mapping["http"].get_response
    assert isinstance(app, BodyLimit)
    too_much = [(b"content-length", str(app.other + 1).encode()), (b"host", b"127.0.0.1")]
    assert asyncio.run(send(app, "/accounts/login/", [b""], too_much)) == (413, 0)


PRODUCTION = {
    "SITE_URL": "https://voice.example.com",
    "SECRET_KEY": "k3y-" + "abcdefghijklmnopqrstuvwxyz0123456789" * 2,
    "EMAIL_URL": "smtp+tls://user:password@mail.example.com:587",
}


def check_deploy(tmp_path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py check --deploy`` in a process that has only these settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    environment = {**kept, "VOICECLOUD_DATA": str(tmp_path), **PRODUCTION, **extra}
    command = [sys.executable, "-m", "django", "check", "--deploy", "--fail-level", "WARNING"]
    environment |= {"DJANGO_SETTINGS_MODULE": "voicecloud.settings", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_deployment_check_is_clean_with_production_settings(tmp_path: Path) -> None:
    done = check_deploy(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"EMAIL_URL": ""}, "voicecloud.W001"),
        ({"JOBS_INLINE": "true"}, "voicecloud.E009"),
        ({"SITE_URL": "http://voice.example.com"}, "security.W004"),
        ({"DEBUG": "true"}, "security.W018"),
    ],
)
def test_the_deployment_check_finds_what_is_not_for_strangers(
    tmp_path: Path, extra: dict[str, str], found: str
) -> None:
    done = check_deploy(tmp_path, **extra)
    assert done.returncode != 0 and found in done.stderr


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ({"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, ["voicecloud.E001"]),
        ({"S3_BUCKET": "b", "S3_ACCESS_KEY": "a"}, ["voicecloud.E002"]),
        ({"S3_BUCKET": "b", "S3_ENDPOINT_URL": "s3.example.com"}, ["voicecloud.E003"]),
        ({"S3_BUCKET": "b", "S3_ENDPOINT_URL": "https://s3.example.com"}, []),
        ({"S3_BUCKET": "b", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}, []),
        ({}, []),
    ],
)
def test_storage_settings_are_complete_together(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], found: list[str]
) -> None:
    for name in checks.S3_NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in extra.items():
        monkeypatch.setenv(name, value)
    assert [message.id for message in checks.storage(None)] == found


def test_browsers_can_reach_the_store_from_the_sites_pages(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setenv("S3_BUCKET", "voices")
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://s3.internal:9000")
    assert checks.storage(None) == []
    settings.SITE_URL = "https://voice.example.com"
    assert [message.id for message in checks.storage(None)] == ["voicecloud.E014"]
    monkeypatch.setenv("S3_ENDPOINT_URL", "https://s3.example.com")
    assert checks.storage(None) == []
    for style, found in (("virtual", []), ("auto", ["voicecloud.E013"])):
        monkeypatch.setenv("S3_ADDRESSING_STYLE", style)
        assert [message.id for message in checks.storage(None)] == found


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("REDIS_URL", "localhost:6379", "voicecloud.E004"),
        ("SITE_URL", "voice.example.com", "voicecloud.E005"),
        ("DEFAULT_CONVERTER", "magic", "voicecloud.E006"),
        ("ENGINE_DEVICE", "abacus", "voicecloud.E012"),
        ("UPLOAD_MAX_BYTES", 0, "voicecloud.E007"),
        ("SENTRY_DSN", "sentry.example.com/1", "voicecloud.E016"),
        ("SENTRY_DSN", "https://sentry.example.com/1", "voicecloud.E016"),
        ("SENTRY_DSN", "https://key@sentry.example.com:port/1", "voicecloud.E016"),
        ("SENTRY_DSN", "https://key@sentry.example.com/project", "voicecloud.E016"),
        ("COST_PER_GPU_HOUR", -1.0, "voicecloud.E017"),
        ("RETENTION_DAYS", -1, "voicecloud.E040"),
        ("RETENTION_DAYS", 40_000, "voicecloud.E040"),
        ("JOB_LOST_AFTER_SECONDS", 8, "voicecloud.E008"),
        ("API_RATE_DEAR", -1, "voicecloud.E022"),
        ("JOBS_PER_WORKSPACE", -1, "voicecloud.E020"),
    ],
)
def test_settings_that_cannot_work_are_found_before_anything_runs(
    settings: Any, name: str, value: Any, found: str
) -> None:
    assert found not in [message.id for message in run_checks()]
    setattr(settings, name, value)
    assert found in [message.id for message in run_checks()]


def test_the_secret_key_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    assert check_deploy(tmp_path, SECRET_KEY="").returncode == 0
    key = tmp_path / "secret-key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_text()) >= 50


def test_a_strange_host_is_refused(db: None) -> None:
    answer = Client().get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 400 and json.dumps("evil.example") not in answer.content.decode()
