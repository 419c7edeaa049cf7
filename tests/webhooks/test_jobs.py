"""Every move of every kind of job is announced, in the transaction that makes it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import transaction

from apps.jobs import services
from apps.jobs.faults import RETRY_AFTER
from apps.jobs.models import Artifact, Job, Status
from apps.webhooks.catalog import EVENTS
from apps.webhooks.courier import Courier
from apps.webhooks.models import Delivery, Endpoint
from tests.jobs import bodies
from tests.webhooks.receivers import Receiver


@pytest.fixture
def job(acme: Any, alice: Any, settings: Any) -> Job:
    """A queued job that nothing runs unless the test does."""
    return Job.objects.create(
        workspace=acme,
        created_by=alice,
        kind="conversion",
        title="Hello as Ada",
        task="tests.jobs.bodies.succeed",
        queue="gpu",
        url="/w/acme/conversions/1/",
    )


def told() -> list[str]:
    return list(Delivery.objects.order_by("pk").values_list("event", flat=True))


def test_the_catalog_knows_every_state_of_a_job() -> None:
    assert set(EVENTS) == {f"job.{status}" for status in Status.values}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("body", "end"), [(bodies.succeed, "job.done"), (bodies.refuse, "job.failed"), (bodies.break_down, "job.failed")]
)
@pytest.mark.parametrize("kind", ["slicing", "training", "conversion", "anything that comes later"])
def test_from_submit_to_end(
    endpoint: Endpoint, receiver: Receiver, acme: Any, alice: Any, body: services.Task, end: str, kind: str
) -> None:
    given = {"kind": kind[:20], "title": "Hello", "queue": "gpu", "task": body}
    job = services.submit(workspace=acme, user=alice, **given)  # type: ignore[arg-type]
    Courier().run_until_empty()
    got = sorted((one.json() for one in receiver.received), key=lambda one: one["timestamp"])
    assert [one["type"] for one in got] == ["job.queued", "job.running", end]
    assert {(one["data"]["job"]["id"], one["data"]["job"]["kind"]) for one in got} == {(str(job.code), kind[:20])}
    assert [one["data"]["job"]["status"] for one in got] == [one["type"].removeprefix("job.") for one in got]


@pytest.mark.django_db
def test_cancelled_lost_tried_again_and_run_again(endpoint: Endpoint, job: Job) -> None:
    running = services.claim(job.pk, worker="w")
    assert running is not None and services.hand_back(running, reason="lost")
    running = services.claim(job.pk, worker="w")
    assert running is not None and services.retry(running, what="The storage", error_id="e")
    assert RETRY_AFTER and services.cancel(job)
    job.refresh_from_db()
    assert services.requeue(job)
    assert told() == [
        "job.running",
        "job.queued",
        "job.running",
        "job.queued",
        "job.cancelled",
        "job.queued",
    ]
    attempts = [
        json.loads(body)["data"]["job"]["attempt"]
        for body in Delivery.objects.order_by("pk").values_list("body", flat=True)
    ]
    assert attempts == [1, 1, 2, 2, 2, 2]


@pytest.mark.django_db
def test_a_move_that_was_lost_to_somebody_else_is_not_announced(endpoint: Endpoint, job: Job) -> None:
    running = services.claim(job.pk, worker="w")
    assert running is not None
    services.end(job.pk, status=Status.DONE, attempt=1)
    before = told()
    assert services.claim(job.pk, worker="v") is None
    assert not services.end(job.pk, status=Status.FAILED)
    assert not services.hand_back(running, reason="lost")
    assert not services.requeue(job)
    assert told() == before == ["job.running", "job.done"]


@pytest.mark.django_db(transaction=True)
def test_the_event_is_there_if_and_only_if_the_move_is(endpoint: Endpoint, job: Job) -> None:
    services.claim(job.pk, worker="w")
    for undone in (True, False):
        with transaction.atomic():
            assert services.end(job.pk, status=Status.DONE, attempt=1)
            transaction.set_rollback(undone)
        job.refresh_from_db()
        assert (job.status == Status.DONE) is ("job.done" in told()) is (not undone)


@pytest.mark.django_db
def test_no_event_of_one_workspace_reaches_another(endpoint: Endpoint, job: Job, charlies: Any) -> None:
    Job.objects.filter(pk=job.pk).update(workspace=charlies)
    services.claim(job.pk, worker="w")
    assert told() == []


@pytest.mark.django_db
def test_what_is_told_about_a_done_job(endpoint: Endpoint, job: Job, settings: Any) -> None:
    settings.SITE_URL = "https://voice.example.com"
    services.claim(job.pk, worker="w")
    artifact = Artifact.objects.create(
        workspace=job.workspace,
        job=job,
        kind="audio",
        name="Hello as Ada.wav",
        file="w/1/artifacts/1.wav",
        content_type="audio/wav",
        size=1000,
        sha256="0" * 64,
    )
    services.end(job.pk, status=Status.DONE, attempt=1)
    whole = json.loads(Delivery.objects.get(event="job.done").body)
    job.refresh_from_db()
    assert set(whole) == {"type", "timestamp", "data"}
    told_of = whole["data"]["job"]
    assert told_of["url"] == f"https://voice.example.com/w/acme/jobs/{job.code}/"
    assert told_of["result_url"] == "https://voice.example.com/w/acme/conversions/1/"
    assert (told_of["message"], told_of["error_id"], told_of["attempt"]) == ("", "", 1)
    assert whole["data"]["workspace"] == {"id": str(job.workspace.code), "slug": "acme", "name": "Acme"}
    (file,) = whole["data"]["files"]
    assert file["url"] == f"https://voice.example.com/w/acme/artifacts/{artifact.code}/"
    assert (file["size"], file["name"], file["content_type"]) == (1000, "Hello as Ada.wav", "audio/wav")
