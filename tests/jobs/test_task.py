"""What becomes of a job by what its body does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.storage import default_storage

from apps.jobs import services
from apps.jobs.folders import folder_of
from apps.jobs.models import Artifact, Job, Status
from apps.jobs.run import Run
from ml.errors import Cancelled
from tests.jobs import bodies

Make = Callable[..., Job]


def ended(job: Job) -> Job:
    job.refresh_from_db()
    assert job.ended_at is not None
    return job


def running(make: Make, **given: Any) -> tuple[Job, Run]:
    job = services.claim(make(**given).pk, worker="w")
    assert job is not None
    run = Run(job)
    run.open()
    return job, run


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (bodies.refuse, "The voice has no model yet; train one first."),
        (bodies.meet_bad_audio, "This file holds no sound; upload another one."),
        (bodies.meet_old_weights, "This voice was trained with another version; train it again."),
    ],
)
def test_a_refusal_fails_the_job_with_its_own_sentence(submitted: Make, body: Any, sentence: str) -> None:
    job = ended(submitted(body))
    assert (job.status, job.message, job.error_id) == (Status.FAILED, sentence, "")


@pytest.mark.django_db(transaction=True)
def test_our_own_fault_is_told_generally_and_logged_under_its_id(
    submitted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        job = ended(submitted(bodies.break_down))
    assert job.status == Status.FAILED
    assert len(job.error_id) == 32
    assert job.error_id in job.message
    assert "secret" not in job.message
    record = next(record for record in caplog.records if job.error_id in record.getMessage())
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.django_db(transaction=True)
def test_a_file_kept_twice_is_one_artifact_with_the_newer_bytes(submitted: Make) -> None:
    job = ended(submitted(bodies.keep_a_file))
    assert job.status == Status.DONE
    artifact = job.artifacts.get()
    assert artifact.file.read() == b"better sound"
    assert (artifact.size, artifact.workspace_id) == (12, job.workspace_id)
    folder = f"{job.workspace.file_prefix}/artifacts"
    assert default_storage.listdir(folder)[1] == [artifact.file.name.rsplit("/")[-1]]


@pytest.mark.django_db(transaction=True)
def test_a_result_stays_when_the_storage_is_away_as_what_it_replaced_is_to_go(
    submitted: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(name: str) -> None:
        raise ConnectionRefusedError(111, "the storage")

    monkeypatch.setattr(default_storage, "delete", away)
    job = ended(submitted(bodies.keep_a_file))
    assert job.status == Status.DONE
    assert job.artifacts.get().file.read() == b"better sound"
    assert "on_commit" in caplog.text
    folder = f"{job.workspace.file_prefix}/artifacts"
    assert len(default_storage.listdir(folder)[1]) == 2, "the sweep of orphans removes the other"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("body", [bodies.succeed, bodies.refuse, bodies.break_down, bodies.keep_a_file])
def test_an_ended_job_leaves_no_folder(submitted: Make, body: Any) -> None:
    job = ended(submitted(body))
    assert not folder_of(job.code).exists()


@pytest.mark.django_db(transaction=True)
def test_progress_is_written_at_most_twice_a_second(queued: Make) -> None:
    job, run = running(queued)
    run.report(0.25, "First")
    run.report(0.5, "Second")
    job.refresh_from_db()
    assert (job.progress, job.stage) == (0.25, "First")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("given", "shown"), [(-1.0, 0.0), (2.0, 1.0), (float("0.3"), 0.3)])
def test_progress_stays_a_fraction(queued: Make, given: float, shown: float) -> None:
    job, run = running(queued)
    run.report(given, "x" * 300)
    job.refresh_from_db()
    assert job.progress == pytest.approx(shown)
    assert len(job.stage) == 100


@pytest.mark.django_db(transaction=True)
def test_a_worker_given_up_for_lost_can_write_nothing(queued: Make, tmp_path: Any) -> None:
    job, old = running(queued)
    assert services.hand_back(job, reason="lost")
    again = services.claim(job.pk, worker="another")
    assert again is not None
    path = tmp_path / "late"
    path.write_bytes(b"late")
    with pytest.raises(Cancelled):
        old.report(0.9, "Still here")
    with pytest.raises(Cancelled):
        old.keep(path, kind=Artifact.Kind.AUDIO, name="late.wav", content_type="audio/wav")
    with pytest.raises(Cancelled), old.result():
        pytest.fail("the body of a result that is not ours must not run")
    old.end(Status.FAILED, message="late")
    job.refresh_from_db()
    assert (job.status, job.attempt, job.worker) == (Status.RUNNING, 2, "another")
    assert not Artifact.objects.exists()
    assert (
        default_storage.exists(f"{job.workspace.file_prefix}/artifacts") is False
        or not default_storage.listdir(f"{job.workspace.file_prefix}/artifacts")[1]
    )


@pytest.mark.django_db(transaction=True)
def test_a_result_that_breaks_half_way_changes_neither_rows_nor_job(queued: Make) -> None:
    job, run = running(queued)
    with pytest.raises(ZeroDivisionError), run.result():
        Job.objects.filter(pk=job.pk).update(title="half")
        raise ZeroDivisionError
    job.refresh_from_db()
    assert (job.status, job.title) == (Status.RUNNING, "Hello as Ada")


@pytest.mark.django_db(transaction=True)
def test_another_machine_goes_on_from_the_mirrored_work_folder(
    queued: Make, settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.jobs.run.MIRROR_EVERY_SECONDS", 0.0)
    job, run = running(queued)
    (run.workdir / "deep").mkdir()
    (run.workdir / "deep" / "step").write_text("100")
    run.keep_checkpoint()
    (run.workdir / "deep" / "step").write_text("200")
    run.keep_checkpoint()
    services.hand_back(job, reason="lost")
    folder = f"{job.workspace.file_prefix}/checkpoints"
    assert len(default_storage.listdir(folder)[1]) == 1

    settings.DATA_DIR = tmp_path  # the other machine's disk; the storage stays
    there = services.claim(job.pk, worker="another machine")
    assert there is not None
    second = Run(there)
    second.open()
    assert (second.workdir / "deep" / "step").read_text() == "200"
    second.end(Status.DONE)
    assert default_storage.listdir(folder)[1] == []
    assert not folder_of(job.code).exists()


@pytest.mark.django_db(transaction=True)
def test_the_same_machine_goes_on_from_its_own_newer_work_folder(queued: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.jobs.run.MIRROR_EVERY_SECONDS", 0.0)
    job, run = running(queued)
    (run.workdir / "step").write_text("mirrored")
    run.keep_checkpoint()
    (run.workdir / "step").write_text("newer")
    services.hand_back(job, reason="lost")
    again = services.claim(job.pk, worker="w")
    assert again is not None
    second = Run(again)
    second.open()
    assert (second.workdir / "step").read_text() == "newer"
