"""Jobs by programs: narrowed, stopped, run again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apps.jobs.models import Job
from tests.api.conftest import Program, error_of


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


def test_a_job_is_stopped_and_run_again(api: Program, some: dict[str, Job]) -> None:
    code = some["queued"].code
    error_of(api.post(f"/jobs/{code}/retry"), 409)
    assert api.post(f"/jobs/{code}/cancel").json()["status"] == "cancelled"
    assert api.post(f"/jobs/{code}/cancel").json()["status"] == "cancelled"
    again = api.post(f"/jobs/{code}/retry").json()
    assert (again["status"], again["message"], again["ended_at"]) == ("queued", "", None)


def test_a_failed_job_says_why(api: Program, some: dict[str, Job]) -> None:
    assert api.get(f"/jobs/{some['failed'].code}").json()["message"] == "The file is silent."
    error_of(api.post(f"/jobs/{some['done'].code}/retry"), 409)
