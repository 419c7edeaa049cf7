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

Submit = Callable[..., Job]


def waiting(name: str = "default") -> int:
    """How many calls wait in a queue."""
    return int(django_rq.get_queue(name).count)


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
        assert waiting("gpu") == 0
    assert waiting("gpu") == 1
    assert waiting("default") == 0
    assert services.claim_next("gpu", worker="w") == job


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_submit_leaves_nothing(submitted: Submit, real_queue: None) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submitted()
        raise ZeroDivisionError
    assert not Job.objects.exists()
    assert waiting() == 0


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
    assert waiting() == 0
    assert services.sweep()["forgotten"] == 1
    assert waiting() == 1
    assert services.sweep()["forgotten"] == 0


@pytest.mark.django_db(transaction=True)
def test_jobs_that_redis_forgot_are_called_for_again(submitted: Submit, real_queue: None) -> None:
    jobs = [submitted(), submitted(), submitted()]
    django_rq.get_queue("default").empty()
    assert services.sweep()["forgotten"] == 3
    assert waiting() == 3
    assert [services.claim_next("default", worker="w") for _ in range(4)] == [*jobs, None]
