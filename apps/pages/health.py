"""Is the process alive, and is everything it needs there? For load balancers and monitors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooSlow
from typing import Any

import redis
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.jobs import presence
from apps.jobs.storage import ObjectStore

log = logging.getLogger(__name__)
LIMIT_SECONDS = 2.0
# Bounded, so that a service that hangs cannot pile up threads: then there is no free one, and the check fails too.
_threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="readyz")


class NotReady(Exception):
    """Something is missing, in words that may be told to whoever asks."""


def _database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()


def _redis() -> None:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=LIMIT_SECONDS) as wire:
        wire.ping()


def _storage() -> None:
    if isinstance(default_storage, ObjectStore):
        default_storage.reach()
    else:
        default_storage.exists("readyz")


def _workers() -> None:
    if settings.JOBS_INLINE:
        return
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=LIMIT_SECONDS) as wire:
        missing = sorted(set(settings.RQ_QUEUES) - set(presence.workers(wire)))
    if missing:
        raise NotReady(f"no worker for {', '.join(missing)}")


def _gpus() -> str:
    """Say how the workers' GPUs are. While one worker still has its own, the loss of others is but a note."""
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=LIMIT_SECONDS) as wire:
        watching = [worker for worker in presence.living(wire) if worker.gpu["state"] != "none"]
    lost = [worker for worker in watching if worker.gpu["state"] == "lost"]
    for worker in lost:
        log.error("readyz: the GPU of %s is lost: %s", worker.host, worker.gpu["reason"])
    words = f"lost by {len(lost)} of {len(watching)} workers"
    if lost and len(lost) == len(watching):
        raise NotReady(words)
    return words if lost else "ok" if watching else "none"


CHECKS: dict[str, Callable[[], str | None]] = {
    "database": _database,
    "redis": _redis,
    "storage": _storage,
    "workers": _workers,
    "gpu": _gpus,
}


def _outcome(name: str, future: Future[str | None], deadline: float) -> dict[str, Any]:
    try:
        note = future.result(timeout=max(0.0, deadline - time.monotonic()))
    except TooSlow:
        log.error("readyz: %s took more than %s s", name, LIMIT_SECONDS)
        return {"ok": False, "reason": f"no answer within {LIMIT_SECONDS:.0f} s"}
    except NotReady as error:
        log.error("readyz: %s", error)
        return {"ok": False, "reason": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a service, it is not ready
        # A line, not a traceback: monitors ask every few seconds, and where it was raised says nothing new.
        log.error("readyz: %s failed: %s: %s", name, type(error).__name__, error)
        return {"ok": False, "reason": "failed; see the log"}
    return {"ok": True, "note": note} if note else {"ok": True}


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """The process answers: 200 whatever else is down."""
    return JsonResponse({"ok": True})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Database, Redis, storage, a worker for each queue, the GPUs they need: 200 when all answer in time, else 503."""
    deadline = time.monotonic() + LIMIT_SECONDS
    futures = {name: _threads.submit(check) for name, check in CHECKS.items()}
    checks = {name: _outcome(name, future, deadline) for name, future in futures.items()}
    ready = all(check["ok"] for check in checks.values())
    return JsonResponse({"ok": ready, "checks": checks}, status=200 if ready else 503)
