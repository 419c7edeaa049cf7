"""Webhook endpoints by programs."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import AuditEvent
from apps.webhooks.models import Endpoint
from tests.api.conftest import Program, error_of

URL = "https://192.0.2.7/hooks"  # an address, so that nobody asks for its name


@pytest.fixture(autouse=True)
def _private(settings: Any) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True


def test_an_endpoint_is_added_changed_switched_and_removed(api: Program, acme: Any) -> None:
    made = api.post("/webhooks", {"url": URL, "events": ["job.done"]})
    assert made.status_code == 201, made.content
    endpoint = made.json()
    assert (endpoint["url"], endpoint["events"], endpoint["enabled"]) == (URL, ["job.done"], True)
    assert "whsec_" not in made.content.decode()
    address = f"/webhooks/{endpoint['id']}"
    changed = api.patch(address, {"description": "CI", "enabled": False}).json()
    assert (changed["description"], changed["enabled"], changed["events"]) == ("CI", False, ["job.done"])
    assert api.patch(address, {"events": []}).json()["events"] == []
    assert api.patch(address, {"enabled": True}).json()["enabled"] is True
    assert api.delete(address).status_code == 204
    assert not Endpoint.objects.exists()


def test_what_no_page_would_take_is_refused(api: Program, acme: Any) -> None:
    assert error_of(api.post("/webhooks", {"url": "ftp://example.com/x"}), 422)["param"] == "url"
    assert error_of(api.post("/webhooks", {"url": URL, "events": ["job.lost"]}), 422)["param"] == "events"


def test_secrets_are_shown_on_record_and_rotated(api: Program, held: dict[str, Any]) -> None:
    address = f"/webhooks/{held['endpoint'].code}"
    [first] = api.post(f"{address}/secrets").json()["secrets"]
    rotated = api.post(f"{address}/rotate").json()["secrets"]
    assert len(rotated) == 2 and rotated[1] == first
    assert AuditEvent.objects.filter(action="webhook.secret_shown").count() == 1


def test_deliveries_are_seen_and_sent_again(api: Program, held: dict[str, Any]) -> None:
    address = f"/webhooks/{held['endpoint'].code}"
    [found] = api.get(f"{address}/deliveries?status=failed").json()["items"]
    assert found["id"] == str(held["delivery"].code)
    assert api.get(f"{address}/deliveries?status=waiting").json()["items"] == []
    assert api.post(f"/deliveries/{found['id']}/replay").json()["status"] == "waiting"
    assert api.post(f"{address}/replay-failed", {"since": "2026-01-01T00:00:00Z"}).json() == {"count": 0}
    sent = api.post(f"{address}/test").json()
    assert (sent["event"], sent["status"]) == ("webhook.test", "waiting")
