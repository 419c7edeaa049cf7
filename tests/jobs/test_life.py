"""Every order of submits, claims, deaths, faults, cancels, sweeps and restarts: a job's life keeps its rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from apps.jobs import services
from apps.jobs.models import ENDED, Job, Status
from tests.jobs import bodies

Make = Callable[..., Job]
LEGAL = {
    (Status.QUEUED, Status.RUNNING),
    (Status.QUEUED, Status.CANCELLED),
    (Status.QUEUED, Status.FAILED),
    (Status.RUNNING, Status.QUEUED),
    (Status.RUNNING, Status.DONE),
    (Status.RUNNING, Status.FAILED),
    (Status.RUNNING, Status.CANCELLED),
    (Status.FAILED, Status.QUEUED),
    (Status.CANCELLED, Status.QUEUED),
}


class Life(RuleBasedStateMachine):
    """Jobs, and attempts as workers remember them: some of these are long lost and do not know."""

    make: Make
    jobs = Bundle("jobs")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        Job.objects.all().delete()
        self.seen: dict[int, tuple[Status, int]] = {}
        self.ends: Counter[int] = Counter()
        self.lives: Counter[int] = Counter()

    @rule(target=jobs)
    def submit(self) -> int:
        job = type(self).make(bodies.succeed)
        self.lives[job.pk] += 1
        return job.pk

    @rule(target=attempts, job=jobs)
    def claim(self, job: int) -> Job | None:
        before = Job.objects.get(pk=job)
        claimed = services.claim(job, worker="w")
        due = before.not_before is None or before.not_before <= timezone.now()
        assert (claimed is not None) == (before.status == Status.QUEUED and due)
        return claimed

    @rule(attempt=attempts, how=some.sampled_from([Status.DONE, Status.FAILED, Status.CANCELLED]))
    def end(self, attempt: Job | None, how: Status) -> None:
        if attempt is not None:
            mine = self._is_mine(attempt)
            assert services.end(attempt.pk, status=how, attempt=attempt.attempt) == mine

    @rule(attempt=attempts)
    def meet_a_fault_that_may_pass(self, attempt: Job | None) -> None:
        if attempt is None:
            return
        current = Job.objects.get(pk=attempt.pk)
        wanted = self._is_mine(attempt) and current.cancel_requested_at is None
        again = services.retry(attempt, what="The storage", error_id="e" * 32)
        assert again == (wanted and attempt.retries < 3)

    @rule(attempt=attempts)
    def die(self, attempt: Job | None) -> None:
        """The worker notices, with the row as it is now; a worker that was itself lost finds nothing to do."""
        if attempt is not None and self._is_mine(attempt):
            services.hand_back(Job.objects.get(pk=attempt.pk), reason="died")

    @rule(job=jobs)
    def cancel(self, job: int) -> None:
        row = Job.objects.get(pk=job)
        assert services.cancel(row) == (row.status not in ENDED)

    @rule(job=jobs)
    def run_again(self, job: int) -> None:
        row = Job.objects.get(pk=job)
        if services.requeue(row):
            assert row.status in (Status.FAILED, Status.CANCELLED)
            self.lives[job] += 1

    @rule()
    def lose_all_workers_and_sweep(self) -> None:
        long_ago = timezone.now() - timedelta(minutes=10)
        Job.objects.filter(status=Status.RUNNING).update(heartbeat_at=long_ago)
        services._sweep_lost()
        assert not Job.objects.filter(status=Status.RUNNING).exists()

    @rule()
    def wait(self) -> None:
        Job.objects.exclude(not_before=None).update(not_before=timezone.now() - timedelta(seconds=1))

    def _is_mine(self, attempt: Job) -> bool:
        return Job.objects.filter(pk=attempt.pk, status=Status.RUNNING, attempt=attempt.attempt).exists()

    @invariant()
    def moves_are_legal_and_each_life_ends_once(self) -> None:
        for job in Job.objects.all():
            status, attempt = self.seen.get(job.pk, (Status.QUEUED, 0))
            now = Status(job.status)
            assert now == status or (status, now) in LEGAL, (status, now)
            assert attempt <= job.attempt
            if now in ENDED and status not in ENDED:
                self.ends[job.pk] += 1
            assert self.ends[job.pk] <= self.lives[job.pk]
            assert (job.ended_at is not None) == (now in ENDED)
            assert job.retries <= 3
            self.seen[job.pk] = (now, job.attempt)


@pytest.mark.django_db(transaction=True)
def test_the_life_of_a_job_keeps_its_rules_whatever_happens(queued: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "enqueue", lambda job: None)
    monkeypatch.setattr(services, "publish", lambda job: None)
    machine = type("Life", (Life,), {"make": staticmethod(queued)})
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=checks, derandomize=True
        ),
    )
