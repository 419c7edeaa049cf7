"""The list of jobs, one job, its card, cancel; and the download of what a job made."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.errors import Refused
from apps.jobs import services
from apps.jobs.downloads import serve
from apps.jobs.models import UNFINISHED, Artifact, Status

JOBS_ON_A_PAGE = 25
STATUS_FILTERS = {
    "unfinished": ("Unfinished", UNFINISHED),
    "done": ("Done", (Status.DONE,)),
    "failed": ("Failed", (Status.FAILED,)),
    "cancelled": ("Cancelled", (Status.CANCELLED,)),
}


@require_safe
@member("viewer")
def job_list(request: WorkspaceRequest) -> HttpResponseBase:
    """Show the workspace's jobs, newest first; ``?status=`` and ``?kind=`` narrow them, unknown words do not."""
    every = request.workspace.jobs.all()
    kinds = list(every.order_by("kind").values_list("kind", flat=True).distinct())
    jobs = every.select_related("created_by")
    status = request.GET.get("status", "")
    if status in STATUS_FILTERS:
        jobs = jobs.filter(status__in=STATUS_FILTERS[status][1])
    kind = request.GET.get("kind", "")
    if kind in kinds:
        jobs = jobs.filter(kind=kind)
    context = {
        "workspace": request.workspace,
        "page": Paginator(jobs, JOBS_ON_A_PAGE).get_page(request.GET.get("page")),
        "statuses": {word: label for word, (label, _) in STATUS_FILTERS.items()},
        "status": status if status in STATUS_FILTERS else "",
        "kinds": kinds,
        "kind": kind if kind in kinds else "",
    }
    return render(request, "jobs/list.html", context)


@require_safe
@member("viewer")
def job_detail(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Show one job with its card, its facts and the files that it made."""
    job = get_object_or_404(request.workspace.jobs.select_related("created_by"), code=code)
    context = {"workspace": request.workspace, "job": job, "artifacts": job.artifacts.all()}
    return render(request, "jobs/detail.html", context)


@require_safe
@member("viewer")
def job_card(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Answer the job's card alone, for the page that asks by itself."""
    job = get_object_or_404(request.workspace.jobs, code=code)
    return render(request, "jobs/_job.html", {"workspace": request.workspace, "job": job})


@require_POST
@member("editor")
def job_cancel(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Stop the job: its card again, or the job's page without JavaScript. An ended job is left as it is."""
    job = get_object_or_404(request.workspace.jobs, code=code)
    stopped = services.cancel(job)
    if request.htmx:
        job.refresh_from_db()
        return render(request, "jobs/_job.html", {"workspace": request.workspace, "job": job})
    if not stopped:
        messages.info(request, "This job had already ended.")
    return redirect("jobs:detail", request.workspace.slug, job.code)


@require_safe
@member("viewer")
def artifact_download(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Answer a file that a job made: to be saved, or with ``?inline=1`` to be played."""
    artifact = get_object_or_404(request.workspace.artifacts, code=code)
    if artifact.kind == Artifact.Kind.EXPORT and not request.membership.may("admin"):
        raise PermissionDenied
    if not artifact.is_stored:
        raise Refused(f"This file expired on {artifact.expired_at:%-d %B %Y}.", status=410)
    return serve(
        request,
        artifact.file,
        content_type=artifact.content_type,
        name=artifact.name,
        attachment=request.GET.get("inline") != "1",
    )
