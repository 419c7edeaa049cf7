"""Pages of the admin that are about more than one row: queues and workers, what workspaces use, storage."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Min
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe
from redis import Redis
from redis.exceptions import RedisError

from apps.accounts.models import AuditEvent, Workspace
from apps.jobs import orphans, presence
from apps.jobs.models import Job, Status
from apps.pages import usage

log = logging.getLogger(__name__)
View = Callable[..., HttpResponse]
PER_PAGE = 50
LIMIT_SECONDS = 2.0


def staff_page(permission: str) -> Callable[[View], View]:
    """Make a view a page of the admin, for staff with a right: nobody logs in, strangers and others are refused."""

    def door(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return admin.site.admin_view(require_safe(checked))

    return door


def _page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    return render(request, template, {**admin.site.each_context(request), "title": title, **context})


@staff_page("jobs.view_job")
def queues(request: HttpRequest) -> HttpResponse:
    """Which queues wait for how long, which workers live and what each does."""
    try:
        with Redis.from_url(settings.REDIS_URL, socket_timeout=LIMIT_SECONDS) as wire:
            living: list[presence.Living] | None = presence.living(wire)
    except (RedisError, OSError):
        log.warning("the staff's page of workers: Redis is away", exc_info=True)
        living = None
    codes = [code for worker in living or [] if (code := worker.said.get("job"))]
    jobs = {str(job.code): job for job in Job.objects.filter(code__in=codes).select_related("workspace")}
    workers = [_worker(worker, jobs) for worker in living or []]
    rows = [_queue(name, workers) for name in sorted(settings.RQ_QUEUES)]
    return _page(
        request, "staff/queues.html", "Queues and workers", queues=rows, workers=workers, unknown=living is None
    )


def _worker(worker: presence.Living, jobs: dict[str, Job]) -> dict[str, Any]:
    said = worker.said
    return {
        "queue": worker.queue,
        "name": worker.name,
        "host": worker.host,
        "gpu": worker.gpu,
        "job": jobs.get(said.get("job", "")),
        "job_since": _moment(said.get("job_since")),
        "done": said.get("done"),
        "since": _moment(said.get("since")),
        "cache": said.get("cache"),
    }


def _moment(seconds: Any) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _queue(name: str, workers: list[dict[str, Any]]) -> dict[str, Any]:
    jobs = Job.objects.filter(queue=name)
    due = jobs.filter(status=Status.QUEUED, not_before=None)
    oldest = due.aggregate(since=Min("created_at"))["since"]
    here = [worker for worker in workers if worker["queue"] == name]
    return {
        "name": name,
        "waiting": due.count(),
        "oldest": (timezone.now() - oldest).total_seconds() if oldest else None,
        "retrying": jobs.filter(status=Status.QUEUED).exclude(not_before=None).count(),
        "running": jobs.filter(status=Status.RUNNING).count(),
        "workers": len(here),
        "busy": sum(worker["job"] is not None for worker in here),
    }


@staff_page("accounts.view_workspace")
def workspaces(request: HttpRequest) -> HttpResponse:
    """What each workspace used in the last 30 days and holds now; ``?q=`` looks for a name or address."""
    query = request.GET.get("q", "").strip()
    page = Paginator(usage.by_computing(query), PER_PAGE).get_page(request.GET.get("page"))
    rows = usage.of(page.object_list)
    return _page(
        request, "staff/workspaces.html", "What workspaces use", page=page, rows=rows, query=query, **_common()
    )


@staff_page("accounts.view_workspace")
def workspace(request: HttpRequest, code: UUID) -> HttpResponse:
    """One workspace: its jobs by kind, its files by kind, its cost, what was last done to it by staff."""
    found = get_object_or_404(Workspace, code=code)
    (used,) = usage.of(usage.by_computing().filter(pk=found.pk))
    events = AuditEvent.objects.filter(workspace=found, action__startswith="staff.").select_related("user")[:20]
    return _page(
        request,
        "staff/workspace.html",
        found.name,
        used=used,
        jobs=usage.jobs_by_kind(found),
        events=events,
        **_common(),
    )


@staff_page("accounts.view_workspace")
def storage(request: HttpRequest) -> HttpResponse:
    """Files and bytes by kind and by workspace, what the last sweep found, and the room on this machine's disk."""
    disk = shutil.disk_usage(settings.DATA_DIR)
    held = usage.totals()
    return _page(
        request,
        "staff/storage.html",
        "Storage",
        held=held,
        files=sum(each.files for each in held),
        bytes=sum(each.size or 0 for each in held),
        largest=usage.largest(20),
        swept=cache.get(orphans.LAST),
        disk=disk,
        disk_share=disk.used / disk.total,
        bucket=settings.S3_BUCKET,
    )


def _common() -> dict[str, Any]:
    return {
        "days": usage.DAYS,
        "has_prices": usage.has_prices(),
        "per_hour": settings.COST_PER_GPU_HOUR,
        "per_gb": settings.COST_PER_GB_MONTH,
    }
