"""Sums over all machines for Prometheus: how often, how long. They outlive each process, and are kept in Redis.

A figure lost is better than a job lost: when Redis is away, what happens is not counted, and logged once a minute.
"""

from __future__ import annotations

import bisect
import logging
import time
from functools import lru_cache

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from apps.jobs.models import Job, Status

log = logging.getLogger(__name__)
KEY = "voicecloud:counters"
WAIT_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
RUN_BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
TOP = "+Inf"
_SEPARATOR = "|"
_LIMIT_SECONDS = 1.0
_QUIET_SECONDS = 60.0
_complained_at = float("-inf")


@lru_cache(maxsize=4)
def _wire(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=_LIMIT_SECONDS, socket_connect_timeout=_LIMIT_SECONDS)


def count(name: str, *labels: str, by: int = 1) -> None:
    """Add to a sum. Its name and the number of its labels stand in ``apps.pages.gathered``."""
    _add({_field(name, *labels): by}, {})


def observe(name: str, seconds: float, *labels: str, buckets: tuple[float, ...]) -> None:
    """Add one more duration to a histogram."""
    place = bisect.bisect_left(buckets, seconds)
    bound = str(buckets[place]) if place < len(buckets) else TOP
    _add({_field(name, *labels, bound): 1}, {_field(f"{name}_sum", *labels): max(0.0, seconds)})


def totals(wire: Redis) -> dict[tuple[str, ...], float]:
    """Return every sum by its name and labels; of a histogram the counts by bucket, not yet added up."""
    found: dict[bytes, bytes] = wire.hgetall(KEY)  # type: ignore[assignment]  # bytes, as nothing decodes here
    return {tuple(key.decode().split(_SEPARATOR)): float(value) for key, value in found.items()}


def _field(*parts: str) -> str:
    return _SEPARATOR.join(part.replace(_SEPARATOR, "/") for part in parts)


def _add(whole: dict[str, int], broken: dict[str, float]) -> None:
    global _complained_at
    try:
        with _wire(settings.REDIS_URL).pipeline(transaction=True) as pipe:
            for name, by in whole.items():
                pipe.hincrby(KEY, name, by)
            for name, amount in broken.items():
                pipe.hincrbyfloat(KEY, name, amount)
            pipe.execute()
    except (RedisError, OSError):
        if time.monotonic() - _complained_at > _QUIET_SECONDS:
            _complained_at = time.monotonic()
            log.warning("figures are not counted: Redis is away", exc_info=True)


def count_wait(job: Job) -> None:
    """Count how long a job waited for its first worker."""
    waited = (job.started_at - job.created_at).total_seconds() if job.started_at else 0.0
    observe("job_wait_seconds", waited, job.kind, job.queue, buckets=WAIT_BUCKETS)


def count_end(job: Job) -> None:
    """Count how a job ended, and how long its last attempt took."""
    count("jobs_ended", job.kind, job.status)
    if job.error_id:
        count("job_faults", job.kind)
    if job.status == Status.DONE and (seconds := job.seconds_spent()) is not None:
        observe("job_seconds", seconds, job.kind, buckets=RUN_BUCKETS)
