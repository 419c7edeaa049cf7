"""What webhooks say about a job: each move of it, to whoever wants to hear."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.urls import reverse

from apps.jobs.models import Job, Status
from apps.webhooks import services

FILES_MAX = 50


def announce(job: Job, status: Status) -> None:
    """Put into the outbox that the job stands so now; called in the transaction that moved it."""
    services.announce(workspace_pk=job.workspace_id, event=f"job.{status}", data=lambda: facts(job.pk))


def facts(job_pk: int) -> dict[str, Any]:
    """Return the job as its row is now, with the files that it made so far."""
    job = Job.objects.select_related("workspace").get(pk=job_pk)
    slug = job.workspace.slug
    made = job.artifacts.all()[:FILES_MAX]
    return {
        "job": {
            "id": job.code,
            "kind": job.kind,
            "title": job.title,
            "status": job.status,
            "attempt": job.attempt,
            "message": job.message,
            "error_id": job.error_id,
            "created_at": job.created_at,
            "started_at": job.started_at,
            "ended_at": job.ended_at,
            "url": settings.SITE_URL + reverse("jobs:detail", args=[slug, job.code]),
            "result_url": settings.SITE_URL + job.url if job.url else None,
        },
        "workspace": {"id": job.workspace.code, "slug": slug, "name": job.workspace.name},
        "files": [
            {
                "id": artifact.code,
                "kind": artifact.kind,
                "name": artifact.name,
                "content_type": artifact.content_type,
                "size": artifact.size,
                "sha256": artifact.sha256,
                "url": settings.SITE_URL + reverse("jobs:artifact", args=[slug, artifact.code]),
            }
            for artifact in made
        ],
    }
