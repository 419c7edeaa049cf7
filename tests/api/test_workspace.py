"""The workspace, its members, its usage, by programs."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail

from apps.accounts.models import Invitation
from apps.billing.services.ledger import reserve, settle
from tests.api.conftest import Program, error_of


def test_a_workspace_is_renamed(api: Program, acme: Any) -> None:
    assert api.get("/workspace").json()["slug"] == "acme"
    changed = api.patch("/workspace", {"name": "Acme & Sons"}).json()
    assert (changed["name"], changed["slug"]) == ("Acme & Sons", "acme")
    assert api.patch("/workspace", {"slug": "sons"}).json()["slug"] == "sons"
    acme.refresh_from_db()
    assert (acme.name, acme.slug) == ("Acme & Sons", "sons")


def test_an_address_that_is_taken(api: Program, charlies: Any) -> None:
    error = error_of(api.patch("/workspace", {"slug": "charlies"}), 422)
    assert error["param"] == "slug"


def member(api: Program, email: str) -> dict[str, Any]:
    found = api.get("/members").json()["items"]
    return next(row for row in found if row["email"] == email)


def test_members_get_other_roles_and_go(api: Program, acme: Any) -> None:
    bob = member(api, "bob@example.org")
    assert bob["role"] == "editor"
    address = f"/members/{bob['id']}"
    assert api.patch(address, {"role": "viewer"}).json()["role"] == "viewer"
    assert api.get(address).json()["role"] == "viewer"
    error_of(api.patch(address, {"role": "owner"}), 422)
    assert api.delete(address).status_code == 204
    error_of(api.get(address), 404)
    assert mail.outbox[-1].to == ["bob@example.org"]


def test_the_owner_stays(api: Program, acme: Any) -> None:
    address = f"/members/{member(api, 'alice@example.org')['id']}"
    error_of(api.patch(address, {"role": "viewer"}), 409)
    error_of(api.delete(address), 409)


def test_somebody_is_invited_and_the_invitation_taken_back(api: Program, acme: Any) -> None:
    sent = api.post("/invitations", {"email": "Eve@example.org", "role": "viewer"})
    assert sent.status_code == 201
    invitation = sent.json()
    assert (invitation["email"], invitation["role"], invitation["mailed"]) == ("eve@example.org", "viewer", True)
    assert mail.outbox[-1].to == ["eve@example.org"]
    assert invitation["link"] in mail.outbox[-1].body
    listed = api.get("/invitations").json()["items"]
    assert [row["email"] for row in listed] == ["eve@example.org"]
    assert "link" not in listed[0]
    assert api.delete(f"/invitations/{invitation['id']}").status_code == 204
    assert not Invitation.objects.exists()
    error_of(api.post("/invitations", {"email": "bob@example.org"}), 409)
    assert error_of(api.post("/invitations", {"email": "no address"}), 422)["param"] == "email"


@pytest.fixture
def spent(acme: Any, alice: Any) -> None:
    """Ninety seconds of conversion that were charged."""
    event = reserve(workspace=acme, meter="convert_seconds", amount=120, key="one", kind="conversion", user=alice)
    settle(event.pk, delivered=90)


def test_usage_is_told_by_meter_and_line_by_line(api: Program, spent: None) -> None:
    usage = api.get("/usage").json()
    meter = next(row for row in usage["meters"] if row["meter"] == "convert_seconds")
    assert (usage["plan"], meter["used"], meter["reserved"], meter["unit"]) == ("unlimited", 90, 0, "s")
    assert {row["meter"] for row in usage["holdings"]} >= {"storage_bytes"}
    [event] = api.get("/usage/events").json()["items"]
    assert (event["spent"], event["amount"], event["state"]) == (90, 120, "settled")
    assert event["member"] == "alice@example.org"


def test_limits_are_those_of_the_plan(api: Program, settings: Any) -> None:
    settings.UPLOAD_MAX_BYTES = 1234
    limits = api.get("/limits").json()
    assert (limits["upload_bytes"], limits["plan"], limits["batch"]) == (1234, "unlimited", 100)
