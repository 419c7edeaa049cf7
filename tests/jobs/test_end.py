"""A job ends exactly once, by a legal move, whoever comes late."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from apps.jobs import services
from apps.jobs.models import ENDED, Job, Status

Make = Callable[..., Job]


@pytest.mark.django_db
@pytest.mark.parametrize("first", ENDED)
@pytest.mark.parametrize("second", ENDED)
def test_a_second_end_changes_nothing(queued: Make, first: Status, second: Status) -> None:
    job = queued()
    services.claim(job.pk, worker="w")
    assert services.end(job.pk, status=first, message="first")
    assert not services.end(job.pk, status=second, message="second")
    job.refresh_from_db()
    assert (job.status, job.message) == (first, "first")


@pytest.mark.django_db
def test_a_job_that_never_ran_cannot_be_done(queued: Make) -> None:
    job = queued()
    assert not services.end(job.pk, status=Status.DONE)
    job.refresh_from_db()
    assert job.status == Status.QUEUED


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_what_is_not_an_end_is_no_way_to_end(queued: Make, status: Status) -> None:
    with pytest.raises(ValueError, match="not an end"):
        services.end(queued().pk, status=status)


@pytest.mark.django_db
@pytest.mark.parametrize("status", ENDED)
def test_an_ended_job_cannot_be_claimed_or_handed_back(queued: Make, status: Status) -> None:
    job = queued()
    running = services.claim(job.pk, worker="w")
    assert running is not None
    services.end(job.pk, status=status)
    assert services.claim(job.pk, worker="w") is None
    assert not services.hand_back(running, reason="lost")
    assert not services.cancel(job)


@pytest.mark.django_db
def test_only_the_newest_attempt_can_end_a_job(queued: Make) -> None:
    first = services.claim(queued().pk, worker="w")
    assert first is not None
    services.hand_back(first, reason="lost")
    services.claim(first.pk, worker="v")
    assert not services.end(first.pk, status=Status.DONE, attempt=1)
    assert services.end(first.pk, status=Status.DONE, attempt=2)


def _claim_without_a_guard(job_pk: int, *, worker: str) -> Job | None:
    """What ``claim`` would be if it looked first and wrote then."""
    job = Job.objects.get(pk=job_pk)
    if job.status != Status.QUEUED:
        return None
    _claim_without_a_guard.barrier.wait(10)  # type: ignore[attr-defined]  # both have looked, neither has written
    Job.objects.filter(pk=job_pk).update(status=Status.RUNNING, attempt=F("attempt") + 1, worker=worker)
    return job


def _claimed_by_two(claim: Callable[..., Job | None], job: Job) -> int:
    """Return how many of two workers that start together get the job."""
    barrier = threading.Barrier(2)
    _claim_without_a_guard.barrier = threading.Barrier(2)  # type: ignore[attr-defined]
    got: list[Job | None] = []

    def work(name: str) -> None:
        barrier.wait(10)
        try:
            got.append(claim(job.pk, worker=name))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 2
    return sum(job is not None for job in got)


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_claim_at_once_both_get_the_job_when_there_is_no_guard(queued: Make) -> None:
    assert _claimed_by_two(_claim_without_a_guard, queued()) == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_that_claim_at_once_one_gets_the_job(queued: Make) -> None:
    for _ in range(10):
        job = queued()
        assert _claimed_by_two(services.claim, job) == 1
        job.refresh_from_db()
        assert job.attempt == 1


@pytest.mark.django_db
def test_time_left_follows_the_pace_of_this_attempt(queued: Make) -> None:
    job = services.claim(queued(progress=0.5).pk, worker="w")
    assert job is not None
    assert job.seconds_left() is None
    job.started_at = timezone.now() - timedelta(seconds=10)
    job.progress = 0.75
    assert job.seconds_left() == pytest.approx(10.0, abs=0.5)
