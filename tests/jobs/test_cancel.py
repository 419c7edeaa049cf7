"""Cancelling through the page, and by whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from apps.jobs import services
from apps.jobs.models import Job, Status
from apps.jobs.run import Run
from ml.errors import Cancelled

Make = Callable[..., Job]


def url_of(job: Job) -> str:
    return reverse("jobs:cancel", args=[job.workspace.slug, job.code])


@pytest.mark.django_db
def test_a_queued_job_is_cancelled_at_once(queued: Make, client_of: Any, bob: Any) -> None:
    job = queued()
    answer = client_of(bob).post(url_of(job), headers={"HX-Request": "true"})
    job.refresh_from_db()
    assert answer.status_code == 200
    assert job.status == Status.CANCELLED
    assert f'id="job-{job.code}"' in answer.text
    assert "data-finished" in answer.text
    assert services.claim(job.pk, worker="w") is None


@pytest.mark.django_db
def test_a_running_job_hears_of_it_with_its_next_report(queued: Make, client_of: Any, bob: Any) -> None:
    claimed = services.claim(queued().pk, worker="w")
    assert claimed is not None
    answer = client_of(bob).post(url_of(claimed), headers={"HX-Request": "true"})
    assert "Stopping" in answer.text
    with pytest.raises(Cancelled):
        Run(claimed).report(0.5, "Working")


@pytest.mark.django_db
def test_without_javascript_the_jobs_page_follows(queued: Make, client_of: Any, bob: Any) -> None:
    job = queued()
    client = client_of(bob)
    answer = client.post(url_of(job), follow=True)
    assert answer.redirect_chain == [(reverse("jobs:detail", args=["acme", job.code]), 302)]
    again = client.post(url_of(job), follow=True)
    assert "already ended" in again.text


@pytest.mark.django_db
def test_a_viewer_sees_no_button_and_may_not_cancel(queued: Make, client_of: Any, victor: Any) -> None:
    job = queued()
    client = client_of(victor)
    assert client.post(url_of(job)).status_code == 403
    card = client.get(reverse("jobs:card", args=["acme", job.code]))
    assert url_of(job) not in card.text
    job.refresh_from_db()
    assert job.status == Status.QUEUED


@pytest.mark.django_db
def test_a_stranger_finds_no_such_job(queued: Make, client_of: Any, charlies: Any, charlie: Any) -> None:
    job = queued()
    client = client_of(charlie)
    assert client.post(url_of(job)).status_code == 404
    assert client.post(reverse("jobs:cancel", args=[charlies.slug, job.code])).status_code == 404
    job.refresh_from_db()
    assert job.status == Status.QUEUED
