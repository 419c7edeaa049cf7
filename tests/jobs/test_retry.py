"""A fault that may pass is tried again after 30 s, 2 min and 5 min; any other ends the job at once."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.exceptions
import pytest
import redis.exceptions
import torch
from django.db import IntegrityError, OperationalError
from django.db.utils import DatabaseErrorWrapper
from django.utils import timezone

from apps.jobs import faults, services
from apps.jobs.line import place_in_line
from apps.jobs.models import Job, Status
from tests.jobs import bodies

Make = Callable[..., Job]


def answer(status: int, code: str) -> botocore.exceptions.ClientError:
    return botocore.exceptions.ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OperationalError("server closed the connection"), "The database"),
        (redis.exceptions.ConnectionError("refused"), "The queue"),
        (redis.exceptions.TimeoutError("slow"), "The queue"),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="http://s3"), "The storage"),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="http://s3"), "The storage"),
        (answer(503, "SlowDown"), "The storage"),
        (answer(500, "InternalError"), "The storage"),
        (OSError(errno.ENOSPC, "No space left on device"), "Room on a disk"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "A service"),
        (torch.OutOfMemoryError("CUDA out of memory"), "Graphics memory"),
        (answer(403, "AccessDenied"), None),
        (answer(404, "NoSuchKey"), None),
        (FileNotFoundError(errno.ENOENT, "gone"), None),
        (PermissionError(errno.EACCES, "no"), None),
        (IntegrityError("duplicate key"), None),
        (redis.exceptions.ResponseError("wrong type"), None),
        (ZeroDivisionError(), None),
        (MemoryError(), None),
    ],
)
def test_only_faults_that_may_pass_are_worth_another_try(error: BaseException, what: str | None) -> None:
    assert faults.passing(error) == what


def test_a_table_that_is_not_there_does_not_come_back_but_a_lock_passes(tmp_path: Path) -> None:
    path = tmp_path / "one.sqlite3"
    first, second = (sqlite3.connect(path, timeout=0) for _ in range(2))
    first.execute("BEGIN EXCLUSIVE")
    django = SimpleNamespace(Database=sqlite3, errors_occurred=False)  # what it knows of a connection
    found = []
    for connection, statement in ((first, "SELECT * FROM nowhere"), (second, "CREATE TABLE somewhere (id)")):
        with pytest.raises(OperationalError) as raised, DatabaseErrorWrapper(django):
            connection.execute(statement)
        found.append(faults.passing(raised.value))
    assert found == [None, "The database"]


def test_a_fault_counts_for_what_it_was_raised_from() -> None:
    wrapped = RuntimeError("the file could not be written")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert faults.passing(wrapped) == "Room on a disk"
    wrapped.__cause__ = ZeroDivisionError()
    assert faults.passing(wrapped) is None


@pytest.mark.django_db(transaction=True)
def test_a_job_is_tried_three_times_more_each_later_than_the_last_and_then_fails(submitted: Make) -> None:
    job = submitted(bodies.lose_the_storage)
    for number, wait in enumerate((30, 120, 300), start=1):
        job.refresh_from_db()
        assert (job.status, job.retries, job.attempt) == (Status.QUEUED, number, number)
        assert job.not_before is not None
        assert timedelta(seconds=wait - 5) < job.not_before - timezone.now() <= timedelta(seconds=wait)
        assert "The storage could not be had" in job.message and place_in_line(job) is None
        assert wait - 5 < job.seconds_to_retry() <= wait
        Job.objects.filter(pk=job.pk).update(not_before=timezone.now())
        bodies.lose_the_storage(job.pk)
    job.refresh_from_db()
    assert (job.status, job.attempt, job.not_before) == (Status.FAILED, 4, None)
    assert len(job.error_id) == 32 and job.error_id in job.message
    assert services.requeue(job)
    job.refresh_from_db()
    assert (job.status, job.retries) == (Status.QUEUED, 0)


@pytest.mark.django_db(transaction=True)
def test_nobody_can_claim_a_job_before_its_next_try_and_the_sweep_waits_too(
    queued: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(services, "call_workers", lambda queue, times: called.append(queue))
    monkeypatch.setattr(services.django_rq, "get_queue", lambda name: type("Empty", (), {"count": 0}))
    job = queued(retries=1, not_before=timezone.now() + timedelta(seconds=60))
    assert services.claim(job.pk, worker="w") is None
    assert services.sweep()["forgotten"] == 0 and called == []
    Job.objects.filter(pk=job.pk).update(not_before=timezone.now() - timedelta(seconds=1))
    assert services.sweep()["forgotten"] == 1 and called == ["default"]
    claimed = services.claim(job.pk, worker="w")
    assert claimed is not None and claimed.not_before is None


@pytest.mark.django_db(transaction=True)
def test_a_job_that_waits_for_its_next_try_can_be_cancelled(queued: Make) -> None:
    job = queued(retries=1, not_before=timezone.now() + timedelta(seconds=60))
    assert services.cancel(job)
    job.refresh_from_db()
    assert (job.status, job.not_before) == (Status.CANCELLED, None)


@pytest.mark.django_db(transaction=True)
def test_a_job_that_was_asked_to_stop_is_not_tried_again(queued: Make) -> None:
    job = services.claim(queued().pk, worker="w")
    assert job is not None and services.cancel(job)
    assert not services.retry(job, what="The storage", error_id="e" * 32)
    job.refresh_from_db()
    assert job.status == Status.CANCELLED


@pytest.mark.django_db(transaction=True)
def test_a_lost_attempt_cannot_send_its_job_into_waiting(queued: Make) -> None:
    lost = services.claim(queued().pk, worker="w")
    assert lost is not None and services.hand_back(lost, reason="lost")
    again = services.claim(lost.pk, worker="another")
    assert again is not None
    assert not services.retry(lost, what="The storage", error_id="e" * 32)
    again.refresh_from_db()
    assert (again.status, again.attempt, again.retries) == (Status.RUNNING, 2, 0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [Status.RUNNING, Status.DONE])
def test_the_database_itself_refuses_a_wait_of_a_job_that_is_not_queued(queued: Make, status: Status) -> None:
    ended: dict[str, Any] = {"ended_at": timezone.now()} if status == Status.DONE else {}
    with pytest.raises(IntegrityError, match="job_waits_only_while_queued"):
        queued(status=status, not_before=timezone.now(), **ended)


@pytest.mark.django_db(transaction=True)
def test_the_card_says_when_it_is_tried_again(queued: Make, alice: Any, client_of: Any) -> None:
    job = queued(retries=1, not_before=timezone.now() + timedelta(seconds=25), message="The storage could not be had.")
    page = client_of(alice).get(f"/w/{job.workspace.slug}/jobs/{job.code}/").content.decode()
    assert "Tries again in" in page and "The storage could not be had." in page


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", [bodies.break_down, bodies.meet_bad_audio])
@pytest.mark.parametrize("free", [0, 10**9])
def test_on_a_full_disk_whatever_a_library_calls_it_may_pass(
    submitted: Make, monkeypatch: pytest.MonkeyPatch, body: Any, free: int
) -> None:
    monkeypatch.setattr(faults.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    job = submitted(body)
    job.refresh_from_db()
    assert job.status == (Status.FAILED if free else Status.QUEUED)
    assert ("Room on a disk could not be had" in job.message) == (not free)
