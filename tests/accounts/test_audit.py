from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from django.test import Client

from apps.accounts import services

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
    (event,) = client.get("/w/acme/audit/?format=json").json()["events"]
    assert (event["user"], event["target"], event["data"]) == (alice.email, "ada@example.org", {"role": "viewer"})
    answer = client.get("/w/acme/audit/?format=csv")
    assert answer["Content-Disposition"] == 'attachment; filename="acme-audit.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert row["target"] == "ada@example.org" and row["at"] == event["at"]


def test_a_spreadsheet_finds_no_formula_in_the_export(acme: Any, alice: Any, client_of: ClientOf) -> None:
    for target in ("=1+1", "+1", "-1", "@x"):
        services.audit(workspace=acme, user=alice, action="voice.deleted", target=target)
    rows = csv.DictReader(io.StringIO(client_of(alice).get("/w/acme/audit/?format=csv").content.decode()))
    assert {row["target"] for row in rows} == {"'=1+1", "'+1", "'-1", "'@x"}


def test_an_unknown_format_is_refused(acme: Any, alice: Any, client_of: ClientOf) -> None:
    assert client_of(alice).get("/w/acme/audit/?format=xml").status_code == 400
