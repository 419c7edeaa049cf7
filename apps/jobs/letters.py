"""The letter about a job that took long: who started it need not watch."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.urls import reverse

from apps.accounts.mail import ready_letter
from apps.accounts.models import Membership
from apps.jobs.models import Job, Status

LONG = timedelta(minutes=2)


def tell(job: Job) -> bool:
    """Write to whoever submitted an ended job, if it took long and they want letters and are still a member.

    Not about a cancelled one: who cancels knows. Says whether a letter was sent.
    """
    user = job.created_by
    if job.status not in (Status.DONE, Status.FAILED) or user is None or not user.mail_when_ready:
        return False
    if job.ended_at is None or job.ended_at - job.created_at < LONG:
        return False
    workspace = job.workspace
    if workspace.deleted_at is not None or not Membership.objects.filter(workspace=workspace, user=user).exists():
        return False
    page = job.url or reverse("jobs:detail", args=[workspace.slug, job.code])
    context = {"title": job.title, "done": job.status == Status.DONE, "sentence": job.message, "workspace": workspace}
    return ready_letter(user, {**context, "link": f"{settings.SITE_URL}{page}"})
