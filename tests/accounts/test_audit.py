from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client

from apps.accounts import audit_views, services
from apps.accounts.models import AuditEvent
from tests.conftest import PASSWORD

ClientOf = Callable[[Any], Client]


def test_the_page_lists_filters_and_pages(acme: Any, alice: Any, adam: Any, client_of: ClientOf) -> None:
    for number in range(60):
        services.audit(workspace=acme, user=alice, action="voice.deleted", target=f"Voice {number}")
    services.audit(workspace=acme, user=alice, action="consent.given", target="Ada")
    client = client_of(adam)
    first = client.get("/w/acme/audit/")
    assert len(first.context["page"].object_list) == 50
    assert len(client.get("/w/acme/audit/?page=2").context["page"].object_list) == 11
    only = client.get("/w/acme/audit/?action=consent.given").context["page"].object_list
    assert [event.target for event in only] == ["Ada"]


def test_both_exports_hold_every_event_of_this_workspace_only(
    acme: Any, alice: Any, charlies: Any, charlie: Any, client_of: ClientOf
) -> None:
    services.audit(
        workspace=acme, user=alice, action="member.joined", target="ada@example.org", data={"role": "viewer"}
    )
    services.audit(workspace=charlies, user=charlie, action="voice.deleted", target="secret")
    client = client_of(alice)
    (event,) = json.loads(client.get("/w/acme/audit/?format=json").getvalue())["events"]
    assert (event["user"], event["target"], event["data"]) == (alice.email, "ada@example.org", {"role": "viewer"})
    answer = client.get("/w/acme/audit/?format=csv")
    assert answer["Content-Disposition"] == 'attachment; filename="acme-audit.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.getvalue().decode()))
    assert row["target"] == "ada@example.org" and row["at"] == event["at"]


def test_a_spreadsheet_finds_no_formula_in_the_export(acme: Any, alice: Any, client_of: ClientOf) -> None:
    for target in ("=1+1", "+1", "-1", "@x"):
        services.audit(workspace=acme, user=alice, action="voice.deleted", target=target)
    rows = csv.DictReader(io.StringIO(client_of(alice).get("/w/acme/audit/?format=csv").getvalue().decode()))
    assert {row["target"] for row in rows} == {"'=1+1", "'+1", "'-1", "'@x"}


def test_an_unknown_format_is_refused(acme: Any, alice: Any, client_of: ClientOf) -> None:
    assert client_of(alice).get("/w/acme/audit/?format=xml").status_code == 400


def events(client: Client, **filters: str) -> list[dict[str, Any]]:
    answer = client.get("/w/acme/audit/", {"format": "json", **filters})
    found: list[dict[str, Any]] = json.loads(answer.getvalue())["events"]
    return found


def test_person_and_days_narrow_page_and_files(acme: Any, alice: Any, bob: Any, client_of: ClientOf) -> None:
    for number, user in enumerate((alice, bob, bob, None)):
        line = services.audit(workspace=acme, user=user, action="voice.deleted", target=str(number))
        AuditEvent.objects.filter(pk=line.pk).update(created_at=datetime(2026, 1, 1 + number, 23, 59, tzinfo=UTC))
    client = client_of(alice)
    told = lambda **filters: [event["target"] for event in events(client, **filters)]  # noqa: E731
    assert told() == ["3", "2", "1", "0"]
    assert told(person=bob.email) == ["2", "1"]
    assert told(since="2026-01-02", until="2026-01-03") == ["2", "1"]
    assert told(person=bob.email, since="2026-01-03", action="voice.deleted") == ["2"]
    assert told(person="nobody@example.org") == told(action="x.y") == []
    page = client.get("/w/acme/audit/", {"person": bob.email, "since": "2026-01-03"})
    assert [line.target for line in page.context["page"]] == ["2"]
    assert f'<option value="{bob.email}" selected>' in page.content.decode()


def test_a_day_that_is_none_is_refused(acme: Any, alice: Any, client_of: ClientOf) -> None:
    client = client_of(alice)
    page = client.get("/w/acme/audit/?since=yesterday")
    assert page.status_code == 422 and "valid date" in page.content.decode()
    assert client.get("/w/acme/audit/?since=yesterday&format=csv").status_code == 422


def test_a_long_log_is_sent_in_blocks(
    acme: Any, alice: Any, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_views, "ROWS_AT_ONCE", 7)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(30):
        line = services.audit(workspace=acme, user=alice, action="voice.deleted", target=str(number))
        AuditEvent.objects.filter(pk=line.pk).update(created_at=now + timedelta(seconds=number // 10))  # many at once
    client = client_of(alice)
    wanted = [str(number) for number in reversed(range(30))]
    assert [event["target"] for event in events(client)] == wanted
    answer = client.get("/w/acme/audit/?format=csv")
    blocks = list(answer.streaming_content)
    assert len(blocks) == 1 + 5 + 1
    assert [row["target"] for row in csv.DictReader(io.StringIO(b"".join(blocks).decode()))] == wanted


@pytest.mark.django_db(transaction=True)
async def test_it_is_streamed_under_asgi_too(acme: Any, alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_views, "ROWS_AT_ONCE", 2)
    for number in range(5):
        await AuditEvent.objects.acreate(workspace=acme, user=alice, action="voice.deleted", target=str(number))
    client = AsyncClient()
    await client.aforce_login(alice)
    answer = await client.get("/w/acme/audit/?format=json")
    blocks = [block async for block in answer.streaming_content]
    await sync_to_async(connections.close_all)()  # of the thread that read them
    assert len(blocks) == 1 + 3 + 1
    assert [event["target"] for event in json.loads(b"".join(blocks))["events"]] == ["4", "3", "2", "1", "0"]


def test_an_empty_log_is_a_file_too(charlies: Any, charlie: Any, client_of: ClientOf) -> None:
    client = client_of(charlie)
    assert json.loads(client.get("/w/charlies/audit/?format=json").getvalue()) == {"events": []}
    assert client.get("/w/charlies/audit/?format=csv").getvalue() == b"at,user,action,target,data\r\n"


def test_how_a_member_gets_in_is_in_the_log_of_each_of_their_workspaces(
    acme: Any, alice: Any, charlies: Any, client_of: ClientOf
) -> None:
    own = services.create_workspace(user=alice, name="Alice's")
    closed = services.create_workspace(user=alice, name="Closed")
    services.delete_workspace(workspace=closed, user=alice)
    client = Client()
    assert client.post("/accounts/login/", {"login": alice.email, "password": "wrong"}).status_code == 200
    client.post("/accounts/login/", {"login": alice.email, "password": PASSWORD})
    new = {"oldpassword": PASSWORD, "password1": "another-long-password", "password2": "another-long-password"}
    assert client.post("/accounts/password/change/", new).status_code == 302
    for workspace in (acme, own):
        lines = list(workspace.audit_events.filter(user=alice).exclude(action="workspace.created"))
        assert [line.action for line in lines] == ["password.changed", "member.logged_in"]
        assert lines[1].data == {"by": ["password"]} and "another-long-password" not in str([vars(x) for x in lines])
    assert not charlies.audit_events.exists()
    assert set(closed.audit_events.values_list("action", flat=True)) == {"workspace.created", "workspace.deleted"}
