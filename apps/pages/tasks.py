"""What the worker does for whole workspaces: write their archive."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from apps.accounts.services import audit
from apps.jobs.downloads import safe_name
from apps.jobs.models import Artifact
from apps.jobs.run import Run
from apps.jobs.worker import task
from apps.pages.archive import write_archive

KEPT_FOR = timedelta(days=7)
_WRITING = 0.9  # of the time; the rest is to store it


@task
def export_workspace(run: Run) -> None:
    """Write the archive of the job's workspace; the newest takes the place of all earlier ones."""
    workspace, job = run.job.workspace, run.job
    path = run.folder / "export.zip"
    contents = write_archive(workspace, path, lambda part, stage: run.report(_WRITING * part, stage))
    run.report(_WRITING, "Storing the archive")
    # Stored before the transaction: it may be large, and others have rows to write meanwhile.
    run.keep(
        path,
        kind=Artifact.Kind.EXPORT,
        name=safe_name(f"{workspace.slug} {job.created_at:%Y-%m-%d}.zip"),
        content_type="application/zip",
        data=contents.summary,
        expires_at=timezone.now() + KEPT_FOR,
    )
    with run.result():
        earlier = Artifact.objects.filter(workspace=workspace, kind=Artifact.Kind.EXPORT, expired_at=None)
        earlier.exclude(job=job).update(expires_at=timezone.now())
        audit(workspace=workspace, user=job.created_by, action="export.made", data=contents.summary)
