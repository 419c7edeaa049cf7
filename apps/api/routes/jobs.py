"""Jobs: looked at, watched, stopped, run again; and the files that they made."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from ninja import Query

from apps.api import auth
from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.limits import Route
from apps.api.paging import page_of
from apps.api.schemas.base import Page
from apps.api.schemas.jobs import Artifact, Job, JobFilter
from apps.api.streams import stream
from apps.errors import Refused
from apps.jobs import models, services
from apps.jobs.downloads import serve
from apps.jobs.models import UNFINISHED
from apps.studio.again import run_again

routes = Routes("jobs")


def _job(request: ApiRequest, code: UUID) -> models.Job:
    row: models.Job = get_object_or_404(request.caller.workspace.jobs, code=code)
    return row


@routes.read("/jobs", Page[Job])
def list_jobs(request: ApiRequest, wanted: Query[JobFilter]) -> Page[Job]:
    """The workspace's jobs, all or those of a kind, in a state, since a time."""
    rows = request.caller.workspace.jobs.all()
    if wanted.kind:
        rows = rows.filter(kind=wanted.kind)
    if wanted.status:
        rows = rows.filter(status__in=UNFINISHED if wanted.status == "unfinished" else [wanted.status])
    if wanted.since is not None:
        rows = rows.filter(created_at__gte=wanted.since)
    return page_of(request, rows, wanted, Page[Job], Job.of)


@routes.read("/jobs/{uuid:job}", Job)
def get_job(request: ApiRequest, job: UUID) -> Job:
    """One job."""
    return Job.of(_job(request, job))


@routes.write("POST", "/jobs/{uuid:job}/cancel", Job)
def cancel_job(request: ApiRequest, job: UUID) -> Job:
    """Stop a job: at once when it waits, within seconds when it runs. One that has ended is left as it is."""
    row = _job(request, job)
    services.cancel(row)
    row.refresh_from_db()
    return Job.of(row)


@routes.write("POST", "/jobs/{uuid:job}/retry", Job, cost=Route.DEAR)
def retry_job(request: ApiRequest, job: UUID) -> Job:
    """Run a failed or cancelled job again.

    It is started as if anew: for this key's owner, under the plan and the consent of now.
    """
    row = _job(request, job)
    run_again(job=row, user=request.caller.user)
    row.refresh_from_db()
    return Job.of(row)


@routes.stream("/jobs/{uuid:job}/events")
def watch_job(request: ApiRequest, job: UUID) -> HttpResponseBase:
    """How a job goes on, as Server-Sent Events, until it ends."""
    return stream(request.caller, _job(request, job), token=auth.token_of(request))


@routes.stream("/events")
def watch_all(request: ApiRequest) -> HttpResponseBase:
    """How all jobs of the workspace go on, as Server-Sent Events: first those that are not finished."""
    return stream(request.caller, None, token=auth.token_of(request))


def _artifacts(request: ApiRequest) -> QuerySet[models.Artifact]:
    rows = request.caller.workspace.artifacts.select_related("job")
    # An export holds all that there is, so its file is for admins, and so is the news of it.
    return rows if request.caller.may("admin") else rows.exclude(kind=models.Artifact.Kind.EXPORT)


@routes.read("/jobs/{uuid:job}/artifacts", list[Artifact])
def list_artifacts(request: ApiRequest, job: UUID) -> list[Artifact]:
    """The files that a job made, in the order in which it made them."""
    rows = _artifacts(request).filter(job=_job(request, job)).defer("data")
    return [Artifact.of(row) for row in rows]


@routes.read("/artifacts/{uuid:artifact}", Artifact)
def get_artifact(request: ApiRequest, artifact: UUID) -> Artifact:
    """One file that a job made."""
    return Artifact.of(get_object_or_404(_artifacts(request), code=artifact))


def _file(request: ApiRequest, code: UUID, **how: Any) -> HttpResponseBase:
    row = get_object_or_404(_artifacts(request), code=code)
    if not row.is_stored:
        raise Refused(f"This file expired on {row.expired_at:%-d %B %Y}.", status=410)
    return serve(request, row.file, content_type=row.content_type, name=row.name, **how)


@routes.file("/artifacts/{uuid:artifact}/download")
def download_artifact(request: ApiRequest, artifact: UUID) -> HttpResponseBase:
    """A file that a job made, to be saved."""
    return _file(request, artifact, attachment=True)


@routes.file("/artifacts/{uuid:artifact}/stream")
def stream_artifact(request: ApiRequest, artifact: UUID) -> HttpResponseBase:
    """A file that a job made, to be played."""
    return _file(request, artifact, attachment=False)
