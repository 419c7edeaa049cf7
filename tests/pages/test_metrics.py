"""What Prometheus is told, and whom it is told to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import django_rq
import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from apps.jobs import counters, presence, services
from apps.jobs.models import Job, Status
from tests.jobs import bodies
from tests.stack import ROOT

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


def grown(before: Figures, after: Figures, name: str, **labels: str) -> float:
    return (of(after, name, **labels) or 0) - (of(before, name, **labels) or 0)


@pytest.mark.django_db(transaction=True)
def test_how_long_jobs_wait_and_take_is_counted_once_by_bucket(make: Callable[..., Job]) -> None:
    before, now = figures(), timezone.now()
    for waited, took in ((0.2, 20), (45, 700), (100_000, 9000)):
        job = make()
        Job.objects.filter(pk=job.pk).update(created_at=now - timedelta(seconds=waited))
        assert services.claim(job.pk, worker="w") is not None
        Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(seconds=took))
        assert services.end(job.pk, status=Status.DONE) and not services.end(job.pk, status=Status.DONE)
    after = figures()
    wait = {"kind": "conversion", "queue": "gpu"}
    for bound, count in (("0.1", 0), ("0.5", 1), ("30.0", 1), ("60.0", 2), ("3600.0", 2), ("+Inf", 3)):
        assert grown(before, after, "voicecloud_job_wait_seconds_bucket", le=bound, **wait) == count, bound
    assert grown(before, after, "voicecloud_job_wait_seconds_count", **wait) == 3
    assert grown(before, after, "voicecloud_job_wait_seconds_sum", **wait) == pytest.approx(100_045, abs=5)
    for bound, count in (("10.0", 0), ("30.0", 1), ("1800.0", 2), ("7200.0", 2), ("+Inf", 3)):
        assert grown(before, after, "voicecloud_job_seconds_bucket", le=bound, kind="conversion") == count, bound
    assert grown(before, after, "voicecloud_job_seconds_sum", kind="conversion") == pytest.approx(9720, abs=5)
    assert of(after, "voicecloud_jobs", kind="conversion", status="done") == 3


@pytest.mark.django_db(transaction=True)
def test_only_the_first_start_of_a_job_is_a_wait(make: Callable[..., Job]) -> None:
    job = services.claim(make().pk, worker="w")
    before = figures()
    assert job is not None and services.hand_back(job, reason="lost")
    assert services.claim(job.pk, worker="w") is not None
    after = figures()
    labels = {"kind": "conversion", "queue": "gpu"}
    assert grown(before, after, "voicecloud_job_wait_seconds_count", **labels) == 0
    assert grown(before, after, "voicecloud_job_deaths_total", kind="conversion") == 1


@pytest.mark.django_db(transaction=True)
def test_ends_faults_and_tries_are_counted_by_kind(make: Callable[..., Job]) -> None:
    before = figures()
    for body in (bodies.succeed, bodies.refuse, bodies.break_down, bodies.lose_the_storage):
        body(make().pk)
    after = figures()
    ended = "voicecloud_jobs_ended_total"
    assert grown(before, after, ended, kind="conversion", status="done") == 1
    assert grown(before, after, ended, kind="conversion", status="failed") == 2
    assert of(after, ended, kind="conversion", status="cancelled") is not None, "known kinds start at 0"
    assert grown(before, after, "voicecloud_job_faults_total", kind="conversion") == 1
    assert grown(before, after, "voicecloud_job_retries_total", kind="conversion") == 1


@pytest.mark.django_db(transaction=True)
def test_a_job_that_is_undone_is_not_counted(make: Callable[..., Job]) -> None:
    before = figures()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        services.end(make().pk, status=Status.FAILED)
        raise ZeroDivisionError
    labels = {"kind": "conversion", "status": "failed"}
    assert grown(before, figures(), "voicecloud_jobs_ended_total", **labels) == 0


def test_counters_add_up_over_processes() -> None:
    script = (
        "import django; django.setup()\nfrom apps.jobs import counters\n"
        "[counters.count('model_cache_hits') for _ in range(200)]\n"
        "[counters.observe('job_seconds', 3.0, 'racing', buckets=counters.RUN_BUCKETS) for _ in range(200)]"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "voicecloud.settings"}
    wire = django_rq.get_connection("gpu")
    before = counters.totals(wire)
    command = [sys.executable, "-c", script]
    racers = [subprocess.Popen(command, env=environment, cwd=ROOT) for _ in range(3)]
    assert [racer.wait(60) for racer in racers] == [0, 0, 0]
    after = counters.totals(wire)
    assert after["model_cache_hits",] - before.get(("model_cache_hits",), 0) == 600
    assert after["job_seconds", "racing", "5.0"] == 600
    assert after["job_seconds_sum", "racing"] == pytest.approx(1800)


@pytest.mark.django_db(transaction=True)
def test_a_job_goes_on_when_nothing_can_be_counted(settings: Any, make: Callable[..., Job], caplog: Any) -> None:
    job = make()
    settings.REDIS_URL = "unix:///nowhere/redis.sock?db=0"
    counters._complained_at = float("-inf")
    assert services.claim(job.pk, worker="w") is not None
    assert services.end(job.pk, status=Status.DONE)
    assert [record.levelname for record in caplog.records if record.name == counters.__name__] == ["WARNING"], "once"


@pytest.mark.django_db(transaction=True)
def test_redis_that_is_away_takes_no_other_figure_along(settings: Any) -> None:
    assert of(figures(), "voicecloud_source_up", source="redis") == 1
    settings.REDIS_URL = "unix:///nowhere/redis.sock?db=0"
    found = figures()
    assert of(found, "voicecloud_source_up", source="redis") == 0
    assert of(found, "voicecloud_source_up", source="database") == 1
    assert of(found, "voicecloud_queue_waiting", queue="gpu") == 0
    assert (of(found, "voicecloud_disk_free_bytes") or 0) > 0


@pytest.mark.django_db
def test_gpus_caches_and_busy_workers_are_told_as_their_workers_tell_them() -> None:
    wire = django_rq.get_connection("gpu")
    device = {"index": 0, "name": "NVIDIA L4", "utilisation": 0.25, "memory_used": 5, "memory_total": 24}
    gpu = {"state": "ok", "reason": "", "devices": [{**device, "temperature": None}]}
    for name, job in (("one", "a-job"), ("two", "")):
        said = {"host": "forge", "job": job, "gpu": gpu, "cache": {"held": 2}}
        presence.say(wire, ["gpu"], name, said)
    presence.say(wire, ["gpu"], "three", {"host": "cellar", "gpu": {"state": "lost", "reason": "x", "devices": []}})
    try:
        found = figures()
    finally:
        for name in ("one", "two", "three"):
            presence.leave(wire, ["gpu"], name)
    labels = {"host": "forge", "gpu": "0", "model": "NVIDIA L4"}
    assert of(found, "voicecloud_gpu_utilisation_ratio", **labels) == 0.25
    assert of(found, "voicecloud_gpu_memory_used_bytes", **labels) == 5
    assert of(found, "voicecloud_gpu_memory_total_bytes", **labels) == 24
    assert of(found, "voicecloud_gpu_temperature_celsius", **labels) is None, "a figure this GPU does not have"
    assert of(found, "voicecloud_gpu_lost", host="forge") == 0
    assert of(found, "voicecloud_gpu_lost", host="cellar") == 1
    assert of(found, "voicecloud_workers_busy", queue="gpu") == 1
    assert of(found, "voicecloud_model_cache_held", queue="gpu") == 4


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
    assert grown(before, after, "voicecloud_http_requests_total", **labels) == 3
    assert grown(before, after, "voicecloud_http_requests_total", **unknown) == 2
    assert grown(before, after, "voicecloud_http_request_seconds_count", page="pages:healthz") == 3
    assert not [key for key in after if "no/such" in str(key)]


@pytest.mark.django_db
def test_webhooks_that_wait_and_that_failed_are_counted(acme: Any) -> None:
    from apps.webhooks.models import Delivery, Endpoint

    endpoint = Endpoint.objects.create(workspace=acme, url="https://example.com/", sealed_secret="x")
    now = timezone.now()
    for _ in range(3):
        due = now - timedelta(seconds=90)
        Delivery.objects.create(endpoint=endpoint, event="job.done", body="{}", next_attempt_at=due)
    for status in ("failed", "failed", "delivered"):
        Delivery.objects.create(endpoint=endpoint, event="job.done", body="{}", status=status, ended_at=now)
    found = figures()
    assert of(found, "voicecloud_webhooks_waiting") == 3
    assert of(found, "voicecloud_webhooks_failed") == 2
    assert 89 < (of(found, "voicecloud_webhooks_overdue_seconds") or 0) < 120
    Endpoint.objects.update(enabled=False)
    assert of(figures(), "voicecloud_webhooks_overdue_seconds") == 0, "none is due to who wants none"
