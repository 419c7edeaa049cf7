"""The pages of endpoints and deliveries, as an admin uses them; what is done there is on record."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import AuditEvent
from apps.webhooks import addresses, services
from apps.webhooks.courier import Courier
from apps.webhooks.models import Delivery, Endpoint, Status
from tests.webhooks.conftest import SECRET
from tests.webhooks.receivers import Receiver, answer

ClientOf = Callable[[Any], Client]
HERE = "/w/acme/webhooks/"


@pytest.fixture
def admin(acme: Any, adam: Any, client_of: ClientOf) -> Client:
    return client_of(adam)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name mean a public address."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443))]
    monkeypatch.setattr(addresses, "getaddrinfo", lambda *args, **more: found)


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))


def many(endpoint: Endpoint, count: int, **given: Any) -> list[Delivery]:
    values = {"event": "job.done", "body": '{"type":"job.done"}', "status": Status.FAILED, "ended_at": timezone.now()}
    rows = [Delivery(endpoint=endpoint, **{**values, **given}) for _ in range(count)]
    return Delivery.objects.bulk_create(rows)


@pytest.mark.django_db
def test_add_change_switch_off_and_on_and_delete(admin: Client, adam: Any, public: None) -> None:
    assert "No endpoints yet" in admin.get(HERE).content.decode()
    given = {"url": " https://example.com/hooks ", "description": "Our shop", "events": ["job.failed", "job.done"]}
    page = admin.post(f"{HERE}new/", given, follow=True)
    endpoint = Endpoint.objects.get()
    assert page.redirect_chain == [(f"{HERE}{endpoint.code}/", 302)]
    assert (endpoint.url, endpoint.events, endpoint.created_by) == (
        "https://example.com/hooks",
        ["job.done", "job.failed"],
        adam,
    )
    here = f"{HERE}{endpoint.code}/"
    admin.post(f"{here}edit/", {"url": "https://example.com/other", "description": "", "events": []})
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.description, endpoint.events) == ("https://example.com/other", "", [])
    admin.post(f"{here}disable/")
    assert "switched off" in admin.get(here).content.decode()
    assert admin.post(f"{here}test/").status_code == 409
    Endpoint.objects.update(failing_since=timezone.now())
    admin.post(f"{here}enable/")
    endpoint.refresh_from_db()
    assert endpoint.enabled and endpoint.failing_since is None
    assert admin.post(f"{here}delete/").status_code == 302
    assert not Endpoint.objects.exists() and admin.get(here).status_code == 404
    verbs = ["created", "changed", "disabled", "enabled", "deleted"]
    assert actions() == [f"webhook.{verb}" for verb in verbs]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "required"),
        ("nonsense", "https://"),
        ("http://127.0.0.1:8000/", "No public address"),
        ("https://no-such-name.invalid/", "No public address"),
    ],
)
def test_an_address_that_may_not_be_called_is_said_beside_the_field(admin: Client, url: str, word: str) -> None:
    page = admin.post(f"{HERE}new/", {"url": url})
    assert page.status_code == 422 and not Endpoint.objects.exists()
    assert word in str(page.context["form"].errors["url"])


@pytest.mark.django_db
def test_an_event_that_does_not_exist_cannot_be_chosen(admin: Client, public: None) -> None:
    page = admin.post(f"{HERE}new/", {"url": "https://example.com/", "events": ["job.exploded"]})
    assert page.status_code == 422 and not Endpoint.objects.exists()


@pytest.mark.django_db
def test_there_is_a_limit(admin: Client, public: None, make_endpoint: Callable[..., Endpoint]) -> None:
    for number in range(services.ENDPOINTS_MAX):
        make_endpoint(f"https://example.com/{number}")
    page = admin.post(f"{HERE}new/", {"url": "https://example.com/more"})
    assert page.status_code == 422 and "Delete one first" in page.content.decode()
    assert Endpoint.objects.count() == services.ENDPOINTS_MAX


@pytest.mark.django_db
def test_the_secret_is_shown_when_asked_for_and_that_is_on_record(admin: Client, endpoint: Endpoint) -> None:
    here = f"{HERE}{endpoint.code}/"
    assert SECRET not in admin.get(here).content.decode()
    page = admin.post(f"{here}secret/")
    assert SECRET in page.content.decode() and "no-store" in page["Cache-Control"]
    assert admin.get(f"{here}secret/").status_code == 405
    assert admin.post(f"{here}rotate/").status_code == 302
    page = admin.post(f"{here}secret/").content.decode()
    endpoint.refresh_from_db()
    new = endpoint.secrets_in_force()[0]
    assert new in page and SECRET in page and new != SECRET
    assert actions() == ["webhook.secret_shown", "webhook.secret_rotated", "webhook.secret_shown"]


@pytest.mark.django_db(transaction=True)
def test_a_test_event_and_its_page(admin: Client, endpoint: Endpoint, receiver: Receiver) -> None:
    receiver.behave = answer(500, b"<script>alert(1)</script>")
    page = admin.post(f"{HERE}{endpoint.code}/test/", follow=True)
    delivery = Delivery.objects.get()
    assert page.redirect_chain[0][0] == f"{HERE}deliveries/{delivery.code}/"
    assert "every 2s" in page.content.decode() and "not been sent yet" in page.content.decode()
    Courier().run_until_empty()
    page = admin.get(f"{HERE}deliveries/{delivery.code}/").content.decode()
    assert "every 2s" not in page
    assert "The receiver answered 500." in page and "<script>alert" not in page and "&lt;script&gt;alert" in page
    got = receiver.received[0].headers
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert f"{name}: {got[name]}".replace("+", "&#x2B;") in page or f"{name}: {got[name]}" in page
    assert "If you can read this, the endpoint works." in page


@pytest.mark.django_db(transaction=True)
def test_one_is_sent_again_with_the_same_id_and_body(admin: Client, endpoint: Endpoint, receiver: Receiver) -> None:
    services.announce(workspace_pk=endpoint.workspace_id, event="job.done", data=lambda: {"number": 1})
    Courier().run_until_empty()
    delivery = Delivery.objects.get()
    assert delivery.status == Status.DELIVERED
    assert admin.post(f"{HERE}deliveries/{delivery.code}/replay/").status_code == 302
    Courier().run_until_empty()
    first, second = receiver.received
    assert first.body == second.body and first.headers["webhook-id"] == second.headers["webhook-id"]
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts, delivery.log.count()) == (Status.DELIVERED, 2, 2)
    Endpoint.objects.update(enabled=False)
    assert admin.post(f"{HERE}deliveries/{delivery.code}/replay/").status_code == 409


@pytest.mark.django_db
def test_a_replay_while_it_is_being_sent_starts_no_second_sending(admin: Client, endpoint: Endpoint) -> None:
    from apps.webhooks import courier

    many(endpoint, 1, status=Status.WAITING, next_attempt_at=timezone.now(), ended_at=None)
    (claimed,) = courier.claim(room=1)
    admin.post(f"{HERE}deliveries/{claimed.code}/replay/")
    assert courier.claim(room=1) == []


@pytest.mark.django_db
def test_all_that_failed_since_then_is_sent_again_and_no_more_than_a_thousand(
    admin: Client, endpoint: Endpoint, make_endpoint: Callable[..., Endpoint]
) -> None:
    other = make_endpoint("https://example.com/")
    many(other, 1)
    old = many(endpoint, 2)
    Delivery.objects.filter(pk__in=[row.pk for row in old]).update(ended_at=timezone.now() - timedelta(hours=2))
    # What fails for good now was made two days ago: its tries took as long.
    recent = many(endpoint, 3)
    Delivery.objects.filter(pk__in=[row.pk for row in recent]).update(created_at=timezone.now() - timedelta(hours=42))
    many(endpoint, 1, event="webhook.test")
    many(endpoint, 1, status=Status.DELIVERED)
    here = f"{HERE}{endpoint.code}/replay/"
    page = admin.post(here, {"since": "1"}, follow=True)
    assert "3 deliveries are sent again" in page.content.decode()
    assert endpoint.deliveries.filter(status=Status.WAITING).count() == 3
    assert other.deliveries.get().status == Status.FAILED
    many(endpoint, 1100)
    page = admin.post(here, {"since": "24"}, follow=True)
    assert "Press it once more" in page.content.decode()
    assert endpoint.deliveries.filter(status=Status.FAILED).count() == 2 + 1 + 1100 - 1000
    assert not Delivery.objects.filter(pk__in=[row.pk for row in old], status=Status.FAILED).exists()
    assert admin.post(here, {"since": "7"}).status_code == 422
    counts = AuditEvent.objects.filter(action="webhook.replayed").order_by("pk").values_list("data__count", flat=True)
    assert list(counts) == [3, 1000]


@pytest.mark.django_db
def test_the_log_is_filtered_and_paged(admin: Client, endpoint: Endpoint, django_assert_max_num_queries: Any) -> None:
    many(endpoint, 55)
    many(endpoint, 2, status=Status.DELIVERED, event="job.failed")
    here = f"{HERE}{endpoint.code}/"
    with django_assert_max_num_queries(16):
        page = admin.get(here)
    assert len(page.context["page"].object_list) == 50
    assert len(admin.get(f"{here}?page=2").context["page"].object_list) == 7
    assert len(admin.get(f"{here}?status=delivered&event=job.failed").context["page"].object_list) == 2
    assert "No such deliveries" in admin.get(f"{here}?status=waiting").content.decode()
    assert len(admin.get(f"{here}?status=nonsense").context["page"].object_list) == 50


@pytest.mark.django_db
def test_editors_see_no_way_there(acme: Any, bob: Any, adam: Any, client_of: ClientOf) -> None:
    assert HERE in client_of(adam).get("/w/acme/settings/").content.decode()
    assert HERE not in client_of(bob).get("/w/acme/settings/").content.decode()


@pytest.mark.django_db
def test_what_is_older_than_thirty_days_goes_in_batches(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(services, "REMOVED_AT_ONCE", 10)
    monkeypatch.setattr(services, "REMOVED_IN_A_ROUND", 30)
    many(endpoint, 45)
    Delivery.objects.update(created_at=timezone.now() - timedelta(days=30, minutes=1))
    many(endpoint, 3)
    assert [services.tidy() for _ in range(3)] == [30, 15, 0]
    assert Delivery.objects.count() == 3


def test_private_receivers_are_warned_of_in_production(settings: Any) -> None:
    from voicecloud.checks import production

    assert "voicecloud.W015" not in [found.id for found in production(None)]
    settings.WEBHOOK_ALLOW_PRIVATE = True
    assert "voicecloud.W015" in [found.id for found in production(None)]
