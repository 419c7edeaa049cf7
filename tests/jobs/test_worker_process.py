"""The real worker on the real stack: start, stop, die."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stack import Stack, running, short_folder

SUBMIT = """
from apps.accounts.models import User
from apps.accounts.services import create_workspace
from apps.jobs.models import Job
from apps.jobs.services import submit
from tests.jobs import bodies
workspace = User.objects.get(email="admin@localhost").workspaces.first()
jobs = [submit(workspace=workspace, user=None, kind="test", title=body, task=getattr(bodies, body), queue=queue,
               time_limit=limit) for _ in range(count)]
result = [job.pk for job in jobs]
"""
LOOK = """
from apps.jobs.models import Job
job = Job.objects.get(pk=pk)
result = {name: getattr(job, name) for name in ("status", "message", "attempt", "progress", "error_id", "worker")}
result["waited"] = job.started_at and (job.started_at - job.created_at).total_seconds()
asked, ended = job.cancel_requested_at, job.ended_at
result["stopping"] = asked and ended and (ended - asked).total_seconds()
result["code"] = str(job.code)
result["files"] = [artifact.file.read().decode() for artifact in job.artifacts.all()]
"""
CANCEL = (
    "from apps.jobs.models import Job\nfrom apps.jobs.services import cancel\nresult = cancel(Job.objects.get(pk=pk))"
)


LIVING = """
import django_rq
from apps.jobs import presence
found = [worker for worker in presence.living(django_rq.get_connection("gpu")) if worker.queue == queue]
result = [worker.said for worker in found]
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    data = short_folder()
    with running(data, JOB_HEARTBEAT_SECONDS="1", JOB_LOST_AFTER_SECONDS="4") as stack:
        yield stack
    shutil.rmtree(data, ignore_errors=True)


def submit(site: Stack, body: str, *, queue: str = "gpu", limit: int = 120, count: int = 1) -> list[int]:
    return site.django(SUBMIT, body=body, queue=queue, limit=limit, count=count)


def look(site: Stack, pk: int) -> dict[str, Any]:
    return site.django(LOOK, pk=pk)


def until(site: Stack, pk: int, *statuses: str, seconds: float = 60.0) -> dict[str, Any]:
    """Return the job once it stands so."""
    limit = time.monotonic() + seconds
    while (job := look(site, pk))["status"] not in statuses:
        assert time.monotonic() < limit, f"{job}\n{site.log.read_text()[-3000:]}"
        time.sleep(0.2)
    return job


def under_way(site: Stack, pk: int) -> dict[str, Any]:
    """Return the job once its body has reported."""
    limit = time.monotonic() + 60
    while (job := look(site, pk))["progress"] == 0.0:
        assert time.monotonic() < limit, job
        time.sleep(0.1)
    return job


def test_the_body_hears_of_a_cancel_and_stops_well_within_five_seconds(site: Stack) -> None:
    (pk,) = submit(site, "work_for_a_minute")
    under_way(site, pk)
    assert site.django(CANCEL, pk=pk)
    job = until(site, pk, "cancelled")
    assert job["stopping"] < 2.0
    site.wait_until(lambda: not (site.data / "jobs" / job["code"]).exists(), seconds=10)


def test_a_body_that_hears_nothing_is_killed_within_five_seconds_and_leaves_no_files(site: Stack) -> None:
    (pk,) = submit(site, "hear_nothing")
    code = under_way(site, pk)["code"]
    half_made = site.data / "jobs" / code / "run-1" / "half-made"
    site.wait_until(half_made.exists, seconds=10)
    assert site.django(CANCEL, pk=pk)
    job = until(site, pk, "cancelled")
    assert job["stopping"] < 5.0
    site.wait_until(lambda: not (site.data / "jobs" / code).exists(), seconds=10)


def test_a_job_over_its_limit_fails_with_a_sentence(site: Stack) -> None:
    (pk,) = submit(site, "work_for_a_minute", limit=2)
    job = until(site, pk, "failed")
    assert "took longer than 1 min" in job["message"]


def test_a_job_that_does_not_even_hear_the_alarm_fails_too(site: Stack) -> None:
    (pk,) = submit(site, "sleep_through_alarms", limit=1)
    job = until(site, pk, "failed", seconds=30)
    assert "took longer than 1 min" in job["message"]


def test_each_job_of_a_process_that_stays_draws_random_numbers_of_its_own(site: Stack) -> None:
    drawn = [until(site, pk, "done")["files"][0].split() for pk in submit(site, "draw", count=3)]
    assert len({process for *_, process in drawn}) == 1
    for one_generator in list(zip(*drawn, strict=True))[:3]:
        assert len(set(one_generator)) == 3


def test_a_work_horse_that_dies_is_replaced_at_once_and_finds_its_work(site: Stack) -> None:
    (pk,) = submit(site, "die_once")
    began = time.monotonic()
    job = until(site, pk, "done")
    assert job["attempt"] == 2
    assert time.monotonic() - began < 15


def test_a_job_that_kills_every_work_horse_ends_as_failed(site: Stack) -> None:
    (pk,) = submit(site, "die", queue="default")
    job = until(site, pk, "failed", seconds=120)
    assert job["attempt"] == 12
    assert job["error_id"] in job["message"]


def test_a_killed_worker_takes_its_work_horse_along_and_the_job_goes_on_with_the_next(site: Stack) -> None:
    (pk,) = submit(site, "work_for_a_minute")
    under_way(site, pk)
    worker = site.worker("gpu")
    family = [pid for pid, line in site.processes().items() if " worker gpu" in line]
    assert len(family) == 2
    os.kill(worker, signal.SIGKILL)
    began = time.monotonic()
    site.wait_until(lambda: look(site, pk)["attempt"] == 2, seconds=30)
    assert time.monotonic() - began < 30
    assert not set(family) & set(site.processes())
    assert site.django(CANCEL, pk=pk)
    until(site, pk, "cancelled")


def test_a_worker_that_is_told_to_stop_gives_its_job_back(site: Stack) -> None:
    (pk,) = submit(site, "work_for_a_minute")
    under_way(site, pk)
    os.kill(site.worker("gpu"), signal.SIGTERM)
    site.wait_until(lambda: look(site, pk)["attempt"] == 2, seconds=30)
    assert site.django(CANCEL, pk=pk)
    until(site, pk, "cancelled")


def test_the_worker_says_what_it_does(site: Stack) -> None:
    def said() -> dict[str, Any]:
        (worker,) = site.django(LIVING, queue="default")
        return worker

    (pk,) = submit(site, "work_for_a_minute", queue="default")
    site.wait_until(lambda: said()["job"] == look(site, pk)["code"], seconds=20)
    assert site.django(CANCEL, pk=pk)
    site.wait_until(lambda: said()["job"] == "", seconds=20)
    assert said()["host"] == socket.gethostname() and abs(said()["since"] - time.time()) < 600
