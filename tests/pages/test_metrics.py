"""What Prometheus is told, and whom it is told to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.jobs import presence, services
from apps.jobs.models import Job, Status
from tests.jobs import bodies

TOKEN = "a-token-of-ours"
Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def _token(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN


@pytest.fixture
def make(acme: Any, alice: Any) -> Callable[..., Job]:
    def insert(**given: Any) -> Job:
        task = f"{bodies.__name__}.succeed"
        plain = {"workspace": acme, "created_by": alice, "kind": "conversion", "title": "x", "task": task}
        return Job.objects.create(**{**plain, "queue": "gpu", **given})

    return insert


def figures() -> Figures:
    answer = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200 and answer["Content-Type"].startswith("text/plain")
    found: Figures = {}
    for family in text_string_to_metric_families(answer.content.decode()):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def of(found: Figures, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


@pytest.mark.django_db
@pytest.mark.parametrize("told", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN])
def test_without_the_token_there_is_no_such_page(told: str) -> None:
    assert Client().get("/metrics", headers={"Authorization": told}).status_code == 404


@pytest.mark.django_db
def test_with_no_token_set_there_is_no_such_page_for_anybody(settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.django_db(transaction=True)
def test_queues_tell_who_waits_and_how_long_and_who_works(make: Callable[..., Job]) -> None:
    now = timezone.now()
    first, _, later = make(), make(), make(retries=1, not_before=now + timedelta(minutes=1))
    Job.objects.filter(pk=first.pk).update(created_at=now - timedelta(seconds=90))
    running = services.claim(make(queue="default").pk, worker="w")
    assert running is not None and later.not_before is not None
    found = figures()
    assert of(found, "voicecloud_queue_waiting", queue="gpu") == 2
    assert 89 < (of(found, "voicecloud_queue_oldest_seconds", queue="gpu") or 0) < 120
    assert of(found, "voicecloud_queue_retrying", queue="gpu") == 1
    assert of(found, "voicecloud_queue_running", queue="default") == 1
    assert of(found, "voicecloud_queue_oldest_seconds", queue="default") == 0


@pytest.mark.django_db(transaction=True)
def test_workers_that_live_are_counted() -> None:
    import django_rq

    wire = django_rq.get_connection("gpu")
    presence.say(wire, ["gpu"], "one")
    presence.say(wire, ["gpu"], "two")
    try:
        found = figures()
    finally:
        for name in ("one", "two"):
            presence.leave(wire, ["gpu"], name)
    assert of(found, "voicecloud_workers", queue="gpu") == 2
    assert of(found, "voicecloud_workers", queue="default") == 0


@pytest.mark.django_db(transaction=True)
def test_ended_jobs_tell_what_they_took(make: Callable[..., Job]) -> None:
    now = timezone.now()
    for seconds in (10, 30):
        job = make(status=Status.DONE, started_at=now - timedelta(seconds=seconds), ended_at=now)
        Job.objects.filter(pk=job.pk).update(created_at=now - timedelta(seconds=seconds + 4))
    make(status=Status.FAILED, ended_at=now)
    found = figures()
    assert of(found, "voicecloud_jobs", kind="conversion", status="done") == 2
    assert of(found, "voicecloud_jobs", kind="conversion", status="failed") == 1
    assert of(found, "voicecloud_job_seconds_sum", kind="conversion") == pytest.approx(40)
    assert of(found, "voicecloud_job_wait_seconds_mean", kind="conversion") == pytest.approx(4)


@pytest.mark.django_db
def test_requests_are_counted_by_page_and_made_up_addresses_together() -> None:
    before = figures()
    labels = {"method": "GET", "page": "pages:healthz", "status": "200"}
    unknown = {"method": "GET", "page": "unknown", "status": "404"}
    for _ in range(3):
        Client().get("/healthz")
    Client().get("/no/such/page/1")
    Client().get("/no/such/page/2")
    after = figures()

    def more(name: str, **labels: str) -> float:
        return (of(after, name, **labels) or 0) - (of(before, name, **labels) or 0)

    assert more("voicecloud_http_requests_total", **labels) == 3
    assert more("voicecloud_http_requests_total", **unknown) == 2
    assert more("voicecloud_http_request_seconds_count", page="pages:healthz") == 3
    assert not [key for key in after if "no/such" in str(key)]


@pytest.mark.django_db
def test_webhooks_that_wait_and_that_failed_are_counted(acme: Any) -> None:
    from apps.webhooks.models import Delivery, Endpoint

    endpoint = Endpoint.objects.create(workspace=acme, url="https://example.com/", sealed_secret="x")
    now = timezone.now()
    for _ in range(3):
        Delivery.objects.create(endpoint=endpoint, event="job.done", body="{}", next_attempt_at=now)
    for status in ("failed", "failed", "delivered"):
        Delivery.objects.create(endpoint=endpoint, event="job.done", body="{}", status=status, ended_at=now)
    found = figures()
    assert of(found, "voicecloud_webhooks_waiting") == 3
    assert of(found, "voicecloud_webhooks_failed") == 2
