"""Everything that a workspace owns, to take away."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from apps.accounts.access import WorkspaceRequest, member
from apps.accounts.models import User, Workspace
from apps.accounts.services import audit
from apps.errors import Refused
from apps.jobs.models import UNFINISHED, Artifact, Job
from apps.jobs.services import submit
from apps.pages.tasks import KEPT_FOR, export_workspace

KIND = "export"
TIME_LIMIT = 6 * 3600  # seconds: hundreds of gigabytes


def start_export(*, workspace: Workspace, user: User) -> Job:
    """Submit the job that writes the workspace's archive. Raises Refused (409) while another one is being written."""
    with transaction.atomic():
        row = Workspace.objects.select_for_update().get(pk=workspace.pk)
        if exports_of(row).filter(status__in=UNFINISHED).exists():
            raise Refused("An export is being written already; wait for it or cancel it first.", status=409)
        job = submit(
            workspace=row,
            user=user,
            kind=KIND,
            title=f"Export of {row.name}",
            task=export_workspace,
            queue="default",
            url=reverse("pages:export", args=[row.slug]),
            time_limit=TIME_LIMIT,
        )
        audit(workspace=row, user=user, action="export.started", target=str(job.code))
    return job


def exports_of(workspace: Workspace) -> QuerySet[Job]:
    """Return the jobs that wrote or write archives of the workspace, newest first."""
    return Job.objects.filter(workspace=workspace, kind=KIND)


@require_http_methods(["GET", "HEAD", "POST"])
@member("admin")
def export(request: WorkspaceRequest) -> HttpResponseBase:
    """What an export holds, the one that is being written and the one that can be had; POST starts one."""
    if request.method == "POST":
        start_export(workspace=request.workspace, user=request.user)
        return redirect("pages:export", request.workspace.slug)
    made = Artifact.objects.filter(workspace=request.workspace, kind=Artifact.Kind.EXPORT, expired_at=None)
    context = {
        "workspace": request.workspace,
        "job": exports_of(request.workspace).first(),
        "archive": made.filter(job__status="done").select_related("job").last(),
        "days": KEPT_FOR.days,
    }
    return render(request, "pages/export.html", context)
