"""Jobs by programs: narrowed, stopped, run again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.accounts.models import Workspace
from apps.billing.services import ledger
from apps.jobs.models import Job
from apps.studio.models import Conversion
from apps.studio.options import defaults
from apps.voices.models import Take, VoiceModel
from tests.api.conftest import Program, error_of
from tests.holdings import FIGURES, GRADE


def job(workspace: Any, **values: Any) -> Job:
    given = {"kind": "conversion", "title": "t", "task": "apps.studio.tasks.run_conversion", "queue": "gpu"}
    return Job.objects.create(workspace=workspace, **{**given, **values})


ENDED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def some(acme: Any) -> dict[str, Job]:
    """A job of each state."""
    return {
        "queued": job(acme),
        "running": job(acme, status="running", kind="training"),
        "done": job(acme, status="done", ended_at=ENDED),
        "failed": job(acme, status="failed", ended_at=ENDED, message="The file is silent."),
        "cancelled": job(acme, status="cancelled", ended_at=ENDED),
    }


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {"queued", "running", "done", "failed", "cancelled"}),
        ("?status=failed", {"failed"}),
        ("?status=unfinished", {"queued", "running"}),
        ("?kind=training", {"running"}),
        ("?kind=training&status=done", set()),
        ("?since=2099-01-01T00:00:00Z", set()),
        ("?since=2026-01-01T00:00:00%2B00:00", {"queued", "running", "done", "failed", "cancelled"}),
    ],
)
def test_lists_are_narrowed(api: Program, some: dict[str, Job], query: str, wanted: set[str]) -> None:
    assert {row["status"] for row in api.get(f"/jobs{query}").json()["items"]} == wanted


@pytest.mark.parametrize("query", ["status=lost", "since=yesterday", "since=7", "since=2026-01-01T00:00:00"])
def test_words_that_narrow_nothing_are_refused(api: Program, some: dict[str, Job], query: str) -> None:
    assert error_of(api.get(f"/jobs?{query}"), 422)["param"] == query.split("=")[0]


def test_a_job_is_stopped_and_run_again(api: Program, held: dict[str, Any]) -> None:
    code = held["job"].code
    Job.objects.filter(code=code).update(status="queued", ended_at=None)
    error_of(api.post(f"/jobs/{code}/retry"), 409)
    assert api.post(f"/jobs/{code}/cancel").json()["status"] == "cancelled"
    assert api.post(f"/jobs/{code}/cancel").json()["status"] == "cancelled"
    again = api.post(f"/jobs/{code}/retry").json()
    assert (again["status"], again["message"], again["ended_at"]) == ("queued", "", None)


def test_a_failed_job_says_why(api: Program, some: dict[str, Job]) -> None:
    assert api.get(f"/jobs/{some['failed'].code}").json()["message"] == "The file is silent."
    error_of(api.post(f"/jobs/{some['done'].code}/retry"), 409)


def fail(row: Job) -> str:
    """Let the job have failed; return the address to run it again."""
    Job.objects.filter(pk=row.pk).update(status="failed", ended_at=ENDED)
    return f"/jobs/{row.code}/retry"


@pytest.fixture
def failed(acme: Any, held: dict[str, Any]) -> dict[str, str]:
    """The addresses to run again a conversion, a training, an instant voice and a slicing that failed."""
    voice, model, recording = held["voice"], held["model"], held["recording"]
    instant = VoiceModel.objects.create(
        voice=voice, job=job(acme, kind="instant voice"), version=2, kind="instant", engine="toy", seconds_of_audio=60.0
    )
    long = Take.objects.create(recording=recording, **{**FIGURES, "end": 60.0}, grade=GRADE)
    for row in (model, instant):
        row.takes.set([long])
    recording.job = job(acme, kind="slicing")
    recording.save()
    rows = {"training": model.job, "instant voice": instant.job, "slicing": recording.job, "conversion": held["job"]}
    return {kind: fail(row) for kind, row in rows.items()}


KINDS = ("conversion", "training", "instant voice", "slicing")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_work_is_run_again_once(api: Program, failed: dict[str, str], kind: str) -> None:
    assert api.post(failed[kind]).json()["status"] == "queued"
    error_of(api.post(failed[kind]), 409)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_run_again_for_a_locked_voice(api: Program, acme: Any, failed: dict[str, str], kind: str) -> None:
    Workspace.objects.filter(pk=acme.pk).update(voice_limit=0)
    assert "locked" in error_of(api.post(failed[kind]), 402)["message"]
    assert not acme.jobs.filter(status="queued").exists()


@pytest.mark.parametrize("kind", KINDS[:3])
def test_nothing_is_run_again_without_consent(
    api: Program, failed: dict[str, str], held: dict[str, Any], kind: str
) -> None:
    held["voice"].consents.update(withdrawn_at=ENDED)
    error_of(api.post(failed[kind]), 403)


def test_a_format_that_the_plan_makes_no_more(api: Program, failed: dict[str, str], settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    Conversion.objects.update(options={**defaults(), "format": "wav24"})
    assert "Choose another format" in error_of(api.post(failed["conversion"]), 402)["message"]


def test_a_source_that_has_expired(api: Program, held: dict[str, Any], failed: dict[str, str]) -> None:
    held["source"].expired_at = ENDED
    held["source"].save()
    error_of(api.post(failed["conversion"]), 410)


def test_what_it_was_made_of_is_gone(api: Program, held: dict[str, Any], failed: dict[str, str]) -> None:
    held["model"].takes.clear()
    assert "usable takes" in error_of(api.post(failed["training"]), 409)["message"]
    Conversion.objects.update(model=None)
    assert "model" in error_of(api.post(failed["conversion"]), 409)["message"]
    held["recording"].delete()
    assert "deleted" in error_of(api.post(failed["slicing"]), 409)["message"]


def test_other_kinds_are_started_anew(api: Program, acme: Any) -> None:
    error_of(api.post(fail(job(acme, kind="export", task="apps.pages.tasks.export"))), 409)


def test_what_it_costs_is_set_aside_for_who_runs_it_again(
    api: Program, acme: Any, alice: Any, bob: Any, held: dict[str, Any], failed: dict[str, str]
) -> None:
    usage = ledger.reserve(workspace=acme, meter="convert_seconds", amount=3, key="first", kind="conversion", user=bob)
    ledger.release(usage.pk)
    Job.objects.filter(pk=held["job"].pk).update(usage=usage)
    api.post(failed["conversion"])
    again = Job.objects.get(pk=held["job"].pk).usage
    assert again is not None and again != usage
    assert (again.user, again.amount, again.api_key is not None) == (alice, 3, True)
