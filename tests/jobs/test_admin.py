"""Staff look at jobs, run them again and end them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.jobs import services
from apps.jobs.models import Job, Status

Make = Callable[..., Job]
pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(alice: Any, client_of: Any) -> Client:
    alice.is_staff = alice.is_superuser = True
    alice.save()
    return client_of(alice)


def act(staff: Client, action: str, *jobs: Job) -> str:
    data = {"action": action, "_selected_action": [job.pk for job in jobs]}
    return staff.post("/admin/jobs/job/", data, follow=True).text


def test_the_list_and_a_job_show_why_it_failed(queued: Make, staff: Client) -> None:
    job = queued()
    services.end(job.pk, status=Status.FAILED, message="No sound in it.", error_id="4711")
    for page in ("/admin/jobs/job/", f"/admin/jobs/job/{job.pk}/change/", "/admin/jobs/job/?q=4711"):
        text = staff.get(page).text
        assert "No sound in it." in text
        assert "4711" in text
    assert staff.get("/admin/jobs/artifact/").status_code == 200


def test_failed_jobs_are_run_again_and_others_left_alone(queued: Make, staff: Client) -> None:
    failed, waiting = queued(), queued()
    services.end(failed.pk, status=Status.FAILED, message="No.")
    assert "1 of 2 queued again." in act(staff, "run_again", failed, waiting)
    failed.refresh_from_db()
    assert failed.status == Status.QUEUED


def test_unfinished_jobs_are_ended(queued: Make, staff: Client) -> None:
    waiting, running, done = queued(), queued(), queued()
    for job in (running, done):
        services.claim(job.pk, worker="w")
    services.end(done.pk, status=Status.DONE)
    assert "2 of 3 ended." in act(staff, "end_now", waiting, running, done)
    assert sorted(Job.objects.values_list("status", flat=True)) == ["done", "failed", "failed"]


def test_nobody_makes_or_changes_a_job_by_hand(queued: Make, staff: Client) -> None:
    job = queued()
    assert staff.get("/admin/jobs/job/add/").status_code == 403
    staff.post(f"/admin/jobs/job/{job.pk}/change/", {"status": "done", "title": "forged"})
    job.refresh_from_db()
    assert (job.status, job.title) == (Status.QUEUED, "Hello as Ada")
