"""Whose turn it is: a flood from one workspace holds up another by the jobs that run, and nobody starves."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from apps.jobs import line, services
from apps.jobs.models import Job, Status

Make = Callable[..., Job]


def take(count: int = 1, queue: str = "default") -> list[Job]:
    """Claim so many jobs, one after the other, as workers do."""
    taken = [services.claim_next(queue, worker=f"w{number}") for number in range(count)]
    return [job for job in taken if job is not None]


def end(job: Job) -> None:
    services.end(job.pk, status=Status.DONE, attempt=job.attempt)


@pytest.fixture(autouse=True)
def _calls_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "call_workers", lambda queue, times=1: None)


@pytest.mark.django_db
def test_a_single_job_goes_before_the_rest_of_a_flood(queued: Make, charlies: Any) -> None:
    flood = [queued() for _ in range(1000)]
    assert take(2) == flood[:2]
    for _ in range(3):
        # Also when it has just had a turn.
        single = queued(workspace=charlies)
        assert line.place_in_line(single) == 1
        assert take() == [single]
        take()


@pytest.mark.django_db
def test_two_floods_take_turns(queued: Make, acme: Any, charlies: Any) -> None:
    for _ in range(10):
        queued()
        queued(workspace=charlies)
    taken = []
    for _ in range(8):
        (job,) = take()
        taken.append(job.workspace_id)
        end(job)
    assert taken[:2] != taken[1:3]
    assert Counter(taken) == {acme.pk: 4, charlies.pk: 4}


@pytest.mark.django_db
@pytest.mark.parametrize("weight", [2, 3, 5])
def test_a_heavier_workspace_takes_as_many_more_turns_and_the_other_is_not_starved(
    queued: Make, acme: Any, charlies: Any, weight: int
) -> None:
    charlies.job_weight = weight
    charlies.save()
    turns = 6 * (weight + 1)
    for _ in range(turns):
        queued()
        queued(workspace=charlies)
    taken: Counter[int] = Counter()
    for _ in range(turns):
        (job,) = take()
        taken[job.workspace_id] += 1
        end(job)
    assert taken[charlies.pk] / taken[acme.pk] == pytest.approx(weight, rel=0.1)


@pytest.mark.django_db
def test_what_was_begun_and_came_back_goes_first(queued: Make, charlies: Any) -> None:
    first, second = queued(), queued(workspace=charlies)
    (lost,) = take()
    assert lost == first
    services.hand_back(lost, reason="lost")
    assert take() == [first]
    assert take() == [second]


@pytest.mark.django_db
def test_a_workspace_has_no_more_running_than_its_plan_allows(queued: Make, acme: Any, charlies: Any) -> None:
    acme.job_limit = 2
    acme.save()
    mine, other = [queued() for _ in range(4)], queued(workspace=charlies)
    assert line.startable("default") == 3
    assert set(take(5)) == {*mine[:2], other}
    assert line.startable("default") == 0
    services.end(mine[0].pk, status=Status.DONE)
    assert line.startable("default") == 1
    assert take(2) == [mine[2]]


@pytest.mark.django_db
def test_the_limit_counts_each_queue_by_itself_and_may_be_none(queued: Make, acme: Any, settings: Any) -> None:
    settings.JOBS_PER_WORKSPACE = 1
    for _ in range(2):
        queued()
        queued(queue="gpu")
    assert len(take(2)) == 1 and len(take(2, "gpu")) == 1
    acme.job_limit = 0
    acme.save()
    assert len(take(2)) == 1


@pytest.mark.django_db(transaction=True)
def test_the_end_of_a_job_calls_a_worker_for_one_that_waited_for_it(
    queued: Make, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOBS_PER_WORKSPACE = 1
    called: list[str] = []
    monkeypatch.setattr(services, "call_workers", lambda queue, times=1: called.append(queue))
    first, _ = queued(), queued()
    assert len(take(2)) == 1 and called == []
    services.end(first.pk, status=Status.DONE)
    assert called == ["default"]
    (second,) = take()
    services.end(second.pk, status=Status.DONE)
    assert called == ["default"], "nobody waits any more"


@pytest.mark.django_db
def test_retries_wait_for_their_time_outside_the_line(queued: Make) -> None:
    waits, goes = queued(status=Status.QUEUED, not_before=timezone.now() + timedelta(minutes=1)), queued()
    assert line.place_in_line(waits) is None
    assert take(2) == [goes]


@pytest.mark.django_db
def test_places_in_line_are_those_of_a_round_robin(queued: Make, charlies: Any) -> None:
    first, second, third = queued(), queued(), queued()
    other, elsewhere = queued(workspace=charlies), queued(queue="gpu")
    places = {job: line.place_in_line(job) for job in (first, second, third, other, elsewhere)}
    assert places == {other: 1, first: 2, second: 3, third: 4, elsewhere: 1}
    assert take(4) == [other, first, second, third]
    first.refresh_from_db()
    assert line.place_in_line(first) is None


def _claim_at_once(workers: int) -> None:
    """Claim in threads that have all looked whose turn it is before the first one claims."""
    begin = threading.Barrier(workers)

    def claim(number: int) -> None:
        begin.wait(timeout=10)
        try:
            services.claim_next("default", worker=f"w{number}")
        finally:
            connection.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def _meet(workers: int) -> Callable[[str, line.Turn, str], Job | None]:
    """Return a claim without its lock, in which all count the running jobs before anybody claims."""
    counted = threading.Barrier(workers)

    def claim_turn(queue: str, turn: line.Turn, worker: str) -> Job | None:
        full = line.running(queue).filter(workspace=turn.workspace).count() >= turn.limit
        counted.wait(timeout=10)
        waiting = line.due(queue).order_by("pk").values_list("pk", flat=True)
        return None if full else next((job for pk in waiting if (job := services.claim(pk, worker=worker))), None)

    return claim_turn


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guarded", [False, True])
def test_workers_that_claim_at_once_stay_within_the_limit(
    queued: Make, settings: Any, monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    settings.JOBS_PER_WORKSPACE = 1
    for _ in range(4):
        queued()
    with nullcontext() if guarded else monkeypatch.context() as patch:
        if patch is not None:
            patch.setattr(services, "_claim_turn", _meet(2))
            patch.setattr(services, "_CLAIMS_TRIED", 1)
        _claim_at_once(2)
    assert Job.objects.filter(status=Status.RUNNING).count() == (1 if guarded else 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guarded", [False, True])
def test_no_job_is_claimed_twice(queued: Make, monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """Without the condition in the update both workers run the one job: the race is real."""
    job = queued()
    looked = threading.Barrier(2)

    def careless(job_pk: int, *, worker: str) -> Job | None:
        row = Job.objects.get(pk=job_pk)
        looked.wait(timeout=10)
        if row.status != Status.QUEUED:
            return None
        row.status, row.attempt, row.worker = Status.RUNNING, row.attempt + 1, worker
        row.save()
        return row

    won: list[str] = []

    def claim(number: int) -> None:
        try:
            if (services.claim if guarded else careless)(job.pk, worker=f"w{number}") is not None:
                won.append(f"w{number}")
        finally:
            connection.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    job.refresh_from_db()
    assert len(won) == (1 if guarded else 2)
    assert job.attempt == 1
