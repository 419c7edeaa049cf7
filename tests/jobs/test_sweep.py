"""What is lost comes back, what is poisonous does not, what has expired goes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from apps.accounts.services import delete_workspace
from apps.jobs import expiry, folders, services
from apps.jobs.models import Artifact, Job, Status

Make = Callable[..., Job]


def lost(job: Job, settings: Any) -> Job:
    """Return the job, claimed by a worker that was heard last just too long ago."""
    services.claim(job.pk, worker="w")
    ago = timezone.now() - timedelta(seconds=settings.JOB_LOST_AFTER_SECONDS + 1)
    Job.objects.filter(pk=job.pk).update(heartbeat_at=ago)
    job.refresh_from_db()
    return job


@pytest.mark.django_db
def test_a_job_whose_worker_fell_silent_is_queued_again(queued: Make, settings: Any) -> None:
    job = lost(queued(), settings)
    assert services.sweep()["lost"] == 1
    job.refresh_from_db()
    assert (job.status, job.worker, job.attempt) == (Status.QUEUED, "", 1)


@pytest.mark.django_db
def test_a_job_whose_worker_is_heard_is_left_alone(queued: Make, settings: Any) -> None:
    job = lost(queued(), settings)
    services.beat(job.pk, worker="w")
    assert services.sweep()["lost"] == 0
    job.refresh_from_db()
    assert job.status == Status.RUNNING


@pytest.mark.django_db
def test_a_heartbeat_that_comes_in_time_saves_the_job_from_a_sweep_under_way(queued: Make, settings: Any) -> None:
    seen = lost(queued(), settings)
    services.beat(seen.pk, worker="w")
    assert not services.hand_back(seen, reason="lost")


@pytest.mark.django_db
def test_another_workers_heartbeat_does_not_count(queued: Make, settings: Any) -> None:
    job = lost(queued(), settings)
    services.beat(job.pk, worker="somebody else")
    assert services.sweep()["lost"] == 1


@pytest.mark.django_db
def test_a_lost_job_that_was_to_be_cancelled_is_cancelled(queued: Make, settings: Any) -> None:
    job = lost(queued(), settings)
    assert services.cancel(job)
    services.sweep()
    job.refresh_from_db()
    assert job.status == Status.CANCELLED


@pytest.mark.django_db
def test_a_job_that_dies_again_and_again_without_progress_ends(queued: Make, settings: Any) -> None:
    job = queued()
    for _ in range(services.MAX_DEATHS_WITHOUT_PROGRESS - 1):
        lost(job, settings)
        services.sweep()
        job.refresh_from_db()
        assert job.status == Status.QUEUED
    lost(job, settings)
    services.sweep()
    job.refresh_from_db()
    assert job.status == Status.FAILED
    assert job.error_id in job.message
    assert job.error_id


@pytest.mark.django_db
def test_a_job_that_makes_progress_between_its_deaths_goes_on(queued: Make, settings: Any) -> None:
    job = queued()
    for attempt in range(1, 3 * services.MAX_DEATHS_WITHOUT_PROGRESS):
        lost(job, settings)
        if attempt % 5 == 0:
            Job.objects.filter(pk=job.pk).update(checkpoint_attempt=attempt)
        services.sweep()
        job.refresh_from_db()
        assert job.status == Status.QUEUED


@pytest.mark.django_db(transaction=True)
def test_expired_artifacts_go_with_their_files(queued: Make) -> None:
    job = queued()
    kept = []
    for name, hours in (("old", -1), ("new", 1)):
        artifact = Artifact(
            workspace=job.workspace, job=job, kind="audio", name=name, size=3, sha256="", content_type=""
        )
        artifact.expires_at = timezone.now() + timedelta(hours=hours)
        artifact.file.save(name, ContentFile(b"abc"))
        kept.append(artifact)
    old, new = kept
    assert expiry.expire() == 1
    name = old.file.name
    for artifact in kept:
        artifact.refresh_from_db()
    assert not old.file and old.expired_at is not None and not old.is_stored
    assert new.expired_at is None and new.is_stored
    assert not default_storage.exists(name)
    assert default_storage.exists(new.file.name)


@pytest.mark.django_db
def test_folders_of_jobs_that_are_over_or_gone_are_removed(queued: Make) -> None:
    folders.tidy()  # what tests before this one left
    over, alive = queued(), queued()
    services.end(over.pk, status=Status.FAILED)
    for code in (over.code, alive.code, uuid.uuid4()):
        (folders.folder_of(code) / "run-1").mkdir(parents=True)
    assert folders.tidy() == 2
    assert [path.name for path in folders.folder_of(alive.code).parent.iterdir()] == [str(alive.code)]
    folders.remove_folder(alive.code)


@pytest.mark.django_db
@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_staff_can_run_a_failed_or_cancelled_job_again(queued: Make, status: Status) -> None:
    job = queued()
    services.claim(job.pk, worker="w")
    services.end(job.pk, status=status, message="no", error_id="abc")
    assert services.requeue(job)
    job.refresh_from_db()
    assert (job.status, job.message, job.error_id, job.ended_at, job.progress) == (Status.QUEUED, "", "", None, 0.0)
    assert not services.requeue(job)


@pytest.mark.django_db
def test_a_done_job_is_not_run_again(queued: Make) -> None:
    job = queued()
    services.claim(job.pk, worker="w")
    services.end(job.pk, status=Status.DONE)
    assert not services.requeue(job)


@pytest.mark.django_db
def test_jobs_of_a_deleted_workspace_are_stopped_and_others_go_on(
    queued: Make, acme: Any, alice: Any, charlies: Any
) -> None:
    waiting, running, elsewhere = queued(), queued(), queued(workspace=charlies)
    services.claim(running.pk, worker="w")
    delete_workspace(workspace=acme, user=alice)
    assert services.sweep()["closed"] == 2
    for job in (waiting, running, elsewhere):
        job.refresh_from_db()
    assert waiting.status == Status.CANCELLED
    assert running.status == Status.RUNNING and running.cancel_requested_at is not None
    assert elsewhere.status == Status.QUEUED and elsewhere.cancel_requested_at is None
    assert services.sweep()["closed"] == 0
