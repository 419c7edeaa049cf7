"""A key is on the one page that shows it, and nowhere else: no log, answer, row, export, admin page or queue has it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.core import mail
from django.http import JsonResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from apps.accounts import keys
from apps.accounts.models import ApiKey, User
from apps.api import auth, idempotency
from apps.errors import Refused
from apps.jobs.services import submit
from apps.pages import archive
from tests.api import secrets
from tests.holdings import fill
from tests.jobs import bodies
from tests.test_tenancy import CASES, ask, kwargs_for

TOKEN = re.compile(r"vc_[A-Za-z0-9_-]{43}")
ClientOf = Callable[[Any], Client]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that anybody logs, down to the queries."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.fixture
def tokens(acme: Any, alice: Any, client_of: ClientOf, log: pytest.LogCaptureFixture) -> list[str]:
    """Two secrets of one key of Alice's, as the pages showed them: the one before its rotation, and the present one."""
    client = client_of(alice)
    form = client.get("/w/acme/keys/new/").context["form"]
    fields = {"code": form["code"].value(), "name": "CI", "scope": "admin", "lives": ""}
    made = client.post("/w/acme/keys/new/", fields)
    key = ApiKey.objects.get()
    fields = {"start": key.start, "overlap": "24"}
    rotated = client.post(f"/w/acme/keys/{key.code}/rotate/", fields)
    found = [TOKEN.search(answer.content.decode()) for answer in (made, rotated)]
    return [match.group() for match in found if match]


def asking(token: str, method: str = "get", **more: Any) -> Any:
    make = getattr(RequestFactory(), method)
    return make("/api/v1/voices", headers={"Authorization": f"Bearer {token}", **more})


def use(tokens: list[str], acme: Any) -> None:
    """Do with the key what programs do: ask, submit a job, repeat, be refused."""
    for token in tokens:
        caller = auth.authenticate(asking(token))
        request = asking(token, "post", **{"Idempotency-Key": token[3:20]})
        submit(workspace=acme, user=caller.user, kind="conversion", title="x", task=bodies.succeed, queue="default")
        for _ in range(2):
            idempotency.answer_once(request, caller, answer)
    keys.revoke(key=ApiKey.objects.get(name="CI"), user=None)
    for token in tokens:
        with pytest.raises(Refused) as refused:
            auth.authenticate(asking(token))
        assert token not in str(refused.value) + str(refused.value.headers)


def answer() -> JsonResponse:
    return JsonResponse({"done": True}, status=201)


def leaks(tokens: list[str], log: pytest.LogCaptureFixture) -> list[str]:
    """Return where any of the secrets stands."""
    found = []
    for token in tokens:
        found += secrets.in_the_database(token) + secrets.in_redis(token)
        found += ["log"] * (token in log.text or any(token in str(vars(record)) for record in log.records))
        found += ["mail"] * any(token in letter.subject + letter.body for letter in mail.outbox)
    return found


@pytest.mark.django_db(transaction=True)
def test_rows_redis_queues_logs_and_letters_do_not_have_it(
    tokens: list[str], acme: Any, settings: Any, log: pytest.LogCaptureFixture
) -> None:
    assert len(set(tokens)) == 2
    settings.JOBS_INLINE = False  # so that the call lies in the queue
    use(tokens, acme)
    assert leaks(tokens, log) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", ["log", "row", "queue"])
def test_a_leak_would_be_found(
    tokens: list[str], acme: Any, settings: Any, log: pytest.LogCaptureFixture, where: str
) -> None:
    settings.JOBS_INLINE = False
    match where:
        case "log":
            logging.getLogger("x").debug("the key is %s", tokens[0])
        case "row":
            ApiKey.objects.update(name=tokens[0])
        case "queue":
            import django_rq

            django_rq.get_queue("default").enqueue(bodies.succeed, tokens[0])
    assert leaks(tokens, log) != []


def test_no_page_shows_it_to_whom_ever_not_even_with_it_in_the_request(
    tokens: list[str], acme: Any, alice: Any, client_of: ClientOf
) -> None:
    held = fill(acme, alice)
    held["api_key"] = ApiKey.objects.get(name="CI")
    client = client_of(alice)
    staff = client_of(User.objects.create_superuser("staff@example.org", "x"))
    client.defaults |= {"HTTP_X_API_KEY": tokens[1], "HTTP_AUTHORIZATION": f"Bearer {tokens[1]}"}
    answers = [ask(client, name, "GET", kwargs_for(name, held), held) for name, method in CASES if method == "GET"]
    answers += [client.get("/nothing/"), client.get("/nothing/", headers={"Accept": "application/json"})]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        answers.append(staff.get(reverse(f"{name}_changelist")))
        answers += [staff.get(reverse(f"{name}_change", args=[row.pk])) for row in model._default_manager.all()[:5]]
    digests = list(ApiKey.objects.values_list("key_hash", flat=True))
    for answer in answers:
        sent = (answer.getvalue().decode(errors="replace") if not answer.streaming else "") + str(answer.headers)
        assert not any(secret in sent for secret in (*tokens, *digests)), answer.request["PATH_INFO"]
    assert len(answers) > 80


def test_our_own_faults_do_not_show_it(
    tokens: list[str], acme: Any, alice: Any, client_of: ClientOf, monkeypatch: Any, log: pytest.LogCaptureFixture
) -> None:
    from apps.api import key_views

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(key_views, "shown", fail)
    ApiKey.objects.update(caps={"convert_seconds": 1})
    client = client_of(alice)
    client.raise_request_exception = False
    for accept in ("text/html", "application/json"):
        answer = client.get("/w/acme/keys/", headers={"Accept": accept, "X-API-Key": tokens[1]})
        assert answer.status_code == 500 and tokens[1] not in answer.content.decode()
    assert "RuntimeError" in log.text and tokens[1] not in log.text


def test_the_export_has_neither_it_nor_its_hash(tokens: list[str], acme: Any, alice: Any, tmp_path: Any) -> None:
    import zipfile

    fill(acme, alice)
    archive.write_archive(acme, tmp_path / "x.zip", lambda part, stage: None)
    digests = [digest for pair in ApiKey.objects.values_list("key_hash", "old_key_hash") for digest in pair if digest]
    assert len(digests) == 3
    with zipfile.ZipFile(tmp_path / "x.zip") as opened:
        everything = b"".join(opened.read(name) for name in opened.namelist())
    assert b"CI" in everything
    assert not any(secret.encode() in everything for secret in (*tokens, *digests))
