"""The list, a job's page, its card, and the files it made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.urls import reverse

from apps.jobs import services
from apps.jobs.models import Artifact, Job, Status
from tests.received import received

Make = Callable[..., Job]
pytestmark = pytest.mark.django_db


def test_an_empty_list_says_what_to_do_next(acme: Any, client_of: Any, victor: Any) -> None:
    page = client_of(victor).get("/w/acme/jobs/").text
    assert "No jobs yet" in page
    assert reverse("studio:convert", args=["acme"]) in page


def test_the_list_shows_own_jobs_newest_first_and_no_other_workspaces(
    queued: Make, client_of: Any, victor: Any, charlies: Any
) -> None:
    first, second = queued(title="First of all"), queued(title="Second")
    queued(title="Not yours", workspace=charlies)
    page = client_of(victor).get("/w/acme/jobs/").text
    assert page.index(str(second.code)) < page.index(str(first.code))
    assert "Not yours" not in page


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", {"waits", "failed", "sliced"}),
        ("?status=unfinished", {"waits"}),
        ("?status=failed", {"failed"}),
        ("?status=done&kind=slicing", {"sliced"}),
        ("?status=done&kind=training", set()),
        ("?kind=training", {"failed"}),
        ("?status=nonsense&kind=nonsense", {"waits", "failed", "sliced"}),
    ],
)
def test_the_filters_narrow_the_list(queued: Make, client_of: Any, victor: Any, query: str, shown: set[str]) -> None:
    queued(title="waits")
    failed = queued(title="failed", kind="training")
    services.end(failed.pk, status=Status.FAILED, message="Because.")
    sliced = queued(title="sliced", kind="slicing")
    services.claim(sliced.pk, worker="w")
    services.end(sliced.pk, status=Status.DONE)
    page = client_of(victor).get(f"/w/acme/jobs/{query}").text
    assert {word for word in ("waits", "failed", "sliced") if f'aria-label="{word}"' in page} == shown
    assert ("No such jobs" in page) is (not shown)


def test_a_long_list_has_pages(queued: Make, client_of: Any, victor: Any) -> None:
    for number in range(30):
        queued(title=f"Job {number:02}")
    client = client_of(victor)
    assert client.get("/w/acme/jobs/").text.count("<article") == 25
    assert client.get("/w/acme/jobs/?page=2").text.count("<article") == 5


def test_the_number_of_queries_does_not_grow_with_the_jobs(
    queued: Make, client_of: Any, victor: Any, django_assert_max_num_queries: Any
) -> None:
    client = client_of(victor)
    for _ in range(20):
        job = queued()
        services.claim(job.pk, worker="w")
        services.end(job.pk, status=Status.DONE)
    client.get("/w/acme/jobs/")
    with django_assert_max_num_queries(8):
        client.get("/w/acme/jobs/")


def test_a_failed_job_says_why_and_under_which_error(queued: Make, client_of: Any, victor: Any) -> None:
    job = queued()
    services.end(job.pk, status=Status.FAILED, message="No <b>sound</b> in it.", error_id="4711")
    page = client_of(victor).get(f"/w/acme/jobs/{job.code}/").text
    assert "No &lt;b&gt;sound&lt;/b&gt; in it." in page
    assert "4711" in page


def test_an_unfinished_card_asks_again_and_a_finished_one_does_not(queued: Make, client_of: Any, victor: Any) -> None:
    job = queued()
    client = client_of(victor)
    url = f"/w/acme/jobs/{job.code}/card/"
    waiting = client.get(url).text
    assert 'hx-trigger="every 10s"' in waiting
    assert "Next in line" in waiting
    services.claim(job.pk, worker="w")
    Job.objects.filter(pk=job.pk).update(progress=0.42, stage="Learning")
    running = client.get(url).text
    assert "42 %" in running
    assert "Learning" in running
    services.end(job.pk, status=Status.DONE)
    done = client.get(url).text
    assert "hx-trigger" not in done
    assert "data-finished" in done
    assert "hx-swap-oob" not in done


def test_a_files_download_is_offered_on_the_jobs_page(queued: Make, client_of: Any, victor: Any, charlie: Any) -> None:
    job = queued()
    artifact = Artifact(
        workspace=job.workspace, job=job, kind="audio", name="Ada.wav", size=4, content_type="audio/wav"
    )
    artifact.file.save("any", ContentFile(b"RIFF"))
    client = client_of(victor)
    assert f"/w/acme/artifacts/{artifact.code}/" in client.get(f"/w/acme/jobs/{job.code}/").text
    saved = received(client.get(f"/w/acme/artifacts/{artifact.code}/"))
    assert saved.body == b"RIFF"
    assert saved.headers["Content-Disposition"] == 'attachment; filename="Ada.wav"'
    played = received(client.get(f"/w/acme/artifacts/{artifact.code}/?inline=1"))
    assert played.headers["Content-Disposition"].startswith("inline")
    assert client_of(charlie).get(f"/w/acme/artifacts/{artifact.code}/").status_code == 404
