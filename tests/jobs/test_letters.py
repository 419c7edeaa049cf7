"""A letter about what took long, to who started it and still wants to know."""

from __future__ import annotations

import smtplib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from apps.accounts.models import Membership
from apps.jobs import services
from apps.jobs.models import Job, Status

Make = Callable[..., Job]
pytestmark = pytest.mark.django_db(transaction=True)


def ended(job: Job, *, minutes: float, status: Status = Status.DONE, message: str = "") -> None:
    """End a job that was submitted `minutes` ago."""
    claimed = services.claim(job.pk, worker="w")
    assert claimed is not None
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=minutes))
    assert services.end(job.pk, status=status, message=message, attempt=claimed.attempt)


def test_what_took_long_is_told_once_to_who_started_it(queued: Make, alice: Any, settings: Any) -> None:
    job = queued(title="Train Ada")
    ended(job, minutes=3)
    assert not services.end(job.pk, status=Status.FAILED)
    (letter,) = mail.outbox
    assert letter.to == [alice.email] and letter.subject == "Train Ada is ready"
    address = f"{settings.SITE_URL}/w/acme/jobs/{job.code}/"
    assert address in letter.body and address in letter.alternatives[0].content


def test_a_failure_is_told_with_its_sentence(queued: Make) -> None:
    ended(queued(title="Ada <b>sings</b>"), minutes=3, status=Status.FAILED, message="The takes are too short.")
    (letter,) = mail.outbox
    assert letter.subject == "Ada <b>sings</b> could not be done"
    assert "The takes are too short." in letter.body
    assert "Ada &lt;b&gt;sings&lt;/b&gt;" in letter.alternatives[0].content


@pytest.mark.parametrize(("minutes", "status"), [(1, Status.DONE), (3, Status.CANCELLED), (1, Status.FAILED)])
def test_what_was_quick_or_cancelled_is_not_told(queued: Make, minutes: float, status: Status) -> None:
    ended(queued(), minutes=minutes, status=status)
    assert mail.outbox == []


def test_who_wants_no_letters_gets_none(queued: Make, alice: Any, client_of: Any) -> None:
    page = client_of(alice).get("/settings/").content.decode()
    assert "Write to me when something long is ready" in page
    client_of(alice).post("/settings/", {"name": "Alice"})
    alice.refresh_from_db()
    assert alice.mail_when_ready is False
    ended(queued(), minutes=3)
    assert mail.outbox == []


def test_who_left_gets_none(queued: Make, bob: Any, acme: Any) -> None:
    job = queued(created_by=bob)
    Membership.objects.filter(user=bob, workspace=acme).delete()
    ended(job, minutes=3)
    assert mail.outbox == []


def test_a_mail_server_that_fails_costs_the_job_nothing(queued: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise smtplib.SMTPServerDisconnected("gone")

    monkeypatch.setattr("django.core.mail.EmailMultiAlternatives.send", refuse)
    job = queued()
    ended(job, minutes=3)
    job.refresh_from_db()
    assert job.status == Status.DONE
