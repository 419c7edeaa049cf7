"""Pages of the admin that are about more than one row: queues and workers, what workspaces use, storage."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe
from redis import Redis
from redis.exceptions import RedisError

from apps.accounts.models import AuditEvent, Workspace
from apps.jobs import orphans, presence
from apps.jobs.models import ENDED, Job, Status
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
    workers = _workers(living or [])
    rows = [_queue(name, workers) for name in sorted(settings.RQ_QUEUES)]
    return _page(
        request, "staff/queues.html", "Queues and workers", queues=rows, workers=workers, unknown=living is None
    )


def _workers(living: list[presence.Living]) -> list[dict[str, Any]]:
    """Return the workers with their jobs, and how many each has ended in the last day, as the books have it."""
    names = [worker.name for worker in living]
    mine = Job.objects.filter(queue__in=settings.RQ_QUEUES, worker__in=names).order_by()
    running = {job.worker: job for job in mine.filter(status=Status.RUNNING).select_related("workspace")}
    recent = mine.filter(status__in=ENDED, created_at__gte=timezone.now() - timedelta(days=1))
    ended = dict(recent.values_list("worker").annotate(count=Count("pk")))
    return [
        {
            "queue": worker.queue,
            "name": worker.name,
            "host": worker.host,
            "gpu": worker.gpu,
            "job": running.get(worker.name),
            "ended": ended.get(worker.name, 0),
            "since": datetime.fromtimestamp(since, UTC) if (since := worker.said.get("since")) else None,
            "cache": worker.said.get("cache"),
        }
        for worker in living
    ]


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
