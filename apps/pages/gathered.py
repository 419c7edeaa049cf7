"""Figures that are read when Prometheus asks: from the database, from Redis, from this machine's disk.

They are right whichever web process answers and whatever was restarted. A source that is away is itself a figure, and
does not take the others along.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.db import Error as DatabaseError
from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from apps.jobs import counters, presence
from apps.jobs.models import ENDED, Job, Status
from apps.webhooks.models import Delivery
from apps.webhooks.models import Status as Outbox

log = logging.getLogger(__name__)
LIMIT_SECONDS = 2.0
PREFIX = "voicecloud_"
# What `apps.jobs.counters` is told to add up: its name there, what it is, its labels.
SUMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "jobs_ended": ("Jobs that ended, by how.", ("kind", "status")),
    "job_faults": ("Jobs that failed by a fault of ours.", ("kind",)),
    "job_retries": ("Tries that are put off after a fault that may pass.", ("kind",)),
    "job_deaths": ("Attempts that died with their process or machine, and go on elsewhere.", ("kind",)),
    "model_cache_hits": ("Models that a worker had in memory already.", ()),
    "model_cache_misses": ("Models that a worker had to load.", ()),
    "model_cache_evictions": ("Models that made room for others in a worker's memory.", ()),
    "api_key_failures": ("Requests with an API key that opens nothing.", ()),
    "api_limited": ("Requests of programs refused as too many.", ()),
    "storage_orphans": ("Files removed because no row named them.", ()),
    "storage_missing": ("Rows found whose file is not in the storage.", ()),
}
DURATIONS: dict[str, tuple[str, tuple[str, ...], tuple[float, ...]]] = {
    "job_wait_seconds": ("From submit to the first start of jobs.", ("kind", "queue"), counters.WAIT_BUCKETS),
    "job_seconds": ("What done jobs took, in their last attempt.", ("kind",), counters.RUN_BUCKETS),
}
Totals = dict[tuple[str, ...], float]


class Gathered(Collector):
    """All of them, each source by itself."""

    def collect(self) -> Iterator[Metric]:
        answered = GaugeMetricFamily(
            f"{PREFIX}source_up", "Whether what figures are read from could be asked.", labels=["source"]
        )
        for source, questions in (("database", (_queues, _standing, _webhooks)), ("redis", (_living, _counted))):
            try:
                found = [metric for question in questions for metric in question()]
            except (DatabaseError, RedisError, OSError) as error:
                log.error("metrics: %s failed: %s: %s", source, type(error).__name__, error)
                answered.add_metric([source], 0)
                continue
            answered.add_metric([source], 1)
            yield from found
        yield from _disk()
        yield answered


def _gauge(name: str, says: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", says, labels=labels)


def _queues() -> Iterator[Metric]:
    waiting = _gauge("queue_waiting", "Jobs that wait for a worker.", "queue")
    oldest = _gauge("queue_oldest_seconds", "How long the oldest waits.", "queue")
    running = _gauge("queue_running", "Jobs that run.", "queue")
    retrying = _gauge("queue_retrying", "Jobs that wait for a next try.", "queue")
    now = timezone.now()
    for queue in sorted(settings.RQ_QUEUES):
        jobs = Job.objects.filter(queue=queue)
        due = jobs.filter(status=Status.QUEUED, not_before=None)
        first = due.aggregate(since=Min("created_at"))["since"]
        waiting.add_metric([queue], due.count())
        oldest.add_metric([queue], (now - first).total_seconds() if first else 0.0)
        running.add_metric([queue], jobs.filter(status=Status.RUNNING).count())
        retrying.add_metric([queue], jobs.filter(status=Status.QUEUED).exclude(not_before=None).count())
    yield from (waiting, oldest, running, retrying)


def _standing() -> Iterator[Metric]:
    jobs = _gauge("jobs", "Jobs, by where they stand.", "kind", "status")
    for row in Job.objects.values("kind", "status").annotate(count=Count("pk")).order_by("kind", "status"):
        jobs.add_metric([row["kind"], row["status"]], row["count"])
    yield jobs


def _webhooks() -> Iterator[Metric]:
    for status, what in ((Outbox.WAITING, "that wait for an attempt"), (Outbox.FAILED, "given up")):
        count = Delivery.objects.filter(status=status).count()
        yield GaugeMetricFamily(f"{PREFIX}webhooks_{status}", f"Deliveries {what}.", value=count)
    due = Delivery.objects.filter(status=Outbox.WAITING, endpoint__enabled=True, next_attempt_at__lte=timezone.now())
    due = due.filter(endpoint__workspace__deleted_at=None)  # as the courier does
    first = due.aggregate(since=Min("next_attempt_at"))["since"]
    overdue = (timezone.now() - first).total_seconds() if first else 0.0
    yield GaugeMetricFamily(
        f"{PREFIX}webhooks_overdue_seconds", "How long the oldest due attempt waits.", value=overdue
    )


def _wire() -> Redis:
    return Redis.from_url(settings.REDIS_URL, socket_timeout=LIMIT_SECONDS, socket_connect_timeout=LIMIT_SECONDS)


def _living() -> Iterator[Metric]:
    with _wire() as wire:
        living = presence.living(wire)
    workers = _gauge("workers", "Workers that live.", "queue")
    busy = _gauge("workers_busy", "Workers that have a job.", "queue")
    held = _gauge("model_cache_held", "Models that workers have in memory.", "queue")
    for queue in sorted(settings.RQ_QUEUES):
        here = [worker for worker in living if worker.queue == queue]
        workers.add_metric([queue], len(here))
        busy.add_metric([queue], sum(bool(worker.said.get("job")) for worker in here))
        held.add_metric([queue], sum((worker.said.get("cache") or {}).get("held", 0) for worker in here))
    yield from (workers, busy, held, *_gpus(living))


def _gpus(living: Iterable[presence.Living]) -> Iterator[Metric]:
    lost = _gauge("gpu_lost", "1 where workers have lost the GPU that they need.", "host")
    # Workers of one machine see the same GPUs; each is told once.
    hosts = {worker.host: worker.gpu for worker in living if worker.gpu["state"] != "none"}
    for host, gpu in sorted(hosts.items()):
        lost.add_metric([host], float(gpu["state"] == "lost"))
    yield lost
    for name, key, says in (
        ("gpu_utilisation_ratio", "utilisation", "Share of the time in which the GPU computed, 0 to 1."),
        ("gpu_memory_used_bytes", "memory_used", "Graphics memory in use."),
        ("gpu_memory_total_bytes", "memory_total", "Graphics memory in all."),
        ("gpu_temperature_celsius", "temperature", "How warm the GPU is."),
    ):
        figure = _gauge(name, says, "host", "gpu", "model")
        for host, gpu in sorted(hosts.items()):
            for device in gpu["devices"]:
                if device[key] is not None:
                    figure.add_metric([host, str(device["index"]), device["name"]], device[key])
        yield figure


def _counted() -> Iterator[Metric]:
    with _wire() as wire:
        totals = counters.totals(wire)
    # A kind that was ever counted has all its figures, from 0: Prometheus cannot see the growth to a first 1.
    kinds = sorted({key[1] for key in totals if key[0] in {*SUMS, *DURATIONS} and len(key) > 1})
    for name, (says, labels) in SUMS.items():
        total = CounterMetricFamily(f"{PREFIX}{name}", says, labels=labels)
        for values in _values(labels, kinds):
            total.add_metric(values, totals.get((name, *values), 0.0))
        yield total
    for name, (says, labels, buckets) in DURATIONS.items():
        yield _histogram(name, says, labels, buckets, totals)


def _values(labels: tuple[str, ...], kinds: list[str]) -> list[list[str]]:
    if not labels:
        return [[]]
    if labels == ("kind",):
        return [[kind] for kind in kinds]
    return [[kind, status] for kind in kinds for status in ENDED]


def _histogram(name: str, says: str, labels: tuple[str, ...], buckets: tuple[float, ...], totals: Totals) -> Metric:
    found = HistogramMetricFamily(f"{PREFIX}{name}", says, labels=labels)
    bounds = [*map(str, buckets), counters.TOP]
    for values in sorted({key[1:-1] for key in totals if key[0] == name}):
        running, rising = 0.0, []
        for bound in bounds:
            running += totals.get((name, *values, bound), 0.0)
            rising.append((bound, running))
        found.add_metric(list(values), rising, totals.get((f"{name}_sum", *values), 0.0))
    return found


def _disk() -> Iterator[Metric]:
    usage = shutil.disk_usage(settings.DATA_DIR)
    free = _gauge("disk_free_bytes", "Room on the disk of this machine's data folder.")
    size = _gauge("disk_size_bytes", "Size of the disk of this machine's data folder.")
    free.add_metric([], usage.free)
    size.add_metric([], usage.total)
    yield from (free, size)
