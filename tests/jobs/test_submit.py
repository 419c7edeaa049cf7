"""From the caller's transaction into the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_rq
import pytest
from django.db import transaction
from redis.exceptions import ConnectionError as RedisIsAway

from apps.jobs import services
from apps.jobs.models import Job, Status
from tests.jobs import bodies

Submit = Callable[..., Job]


def waiting(name: str = "default") -> list[str]:
    return [rq_id[:36] for rq_id in django_rq.get_queue(name).job_ids]


@pytest.fixture
def real_queue(settings: Any) -> Any:
    settings.JOBS_INLINE = False
    for name in services.QUEUES:
        django_rq.get_queue(name).empty()


@pytest.mark.django_db(transaction=True)
def test_inline_a_job_runs_when_the_callers_transaction_commits(submitted: Submit) -> None:
    with transaction.atomic():
        job = submitted()
        assert Job.objects.get().status == Status.QUEUED
    job.refresh_from_db()
    assert (job.status, job.progress, job.attempt) == (Status.DONE, 1.0, 1)


@pytest.mark.django_db(transaction=True)
def test_a_job_reaches_its_queue_only_with_the_commit(submitted: Submit, real_queue: None) -> None:
    with transaction.atomic():
        job = submitted(queue="gpu")
        assert waiting("gpu") == []
    assert waiting("gpu") == [str(job.code)]
    assert waiting("default") == []


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_submit_leaves_nothing(submitted: Submit, real_queue: None) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submitted()
        raise ZeroDivisionError
    assert not Job.objects.exists()
    assert waiting() == []


@pytest.mark.django_db(transaction=True)
def test_a_job_submitted_while_redis_is_away_is_put_in_later(
    submitted: Submit, real_queue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> None:
        raise RedisIsAway("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr("django_rq.queues.DjangoRQ.enqueue_call", away)
        job = submitted()
    assert Job.objects.get(pk=job.pk).status == Status.QUEUED
    assert waiting() == []
    assert services.sweep()["forgotten"] == 1
    assert waiting() == [str(job.code)]
    assert services.sweep()["forgotten"] == 0


@pytest.mark.django_db(transaction=True)
def test_jobs_that_redis_forgot_are_put_in_again_in_their_order(submitted: Submit, real_queue: None) -> None:
    jobs = [submitted(), submitted(), submitted()]
    django_rq.get_queue("default").empty()
    assert services.sweep()["forgotten"] == 3
    assert waiting() == [str(job.code) for job in jobs]


@pytest.mark.django_db
def test_place_in_line_counts_the_same_queue_only(queued: Callable[..., Job]) -> None:
    first, other, second = queued(), queued(queue="gpu"), queued(task=bodies.refuse)
    assert [first.place_in_line(), other.place_in_line(), second.place_in_line()] == [1, 1, 2]
    services.claim(first.pk, worker="w")
    first.refresh_from_db()
    assert first.place_in_line() is None
    assert second.place_in_line() == 1
