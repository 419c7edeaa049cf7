"""Figures for Prometheus, at ``/metrics`` for whoever knows METRICS_TOKEN.

What requests do is counted by each web process and added up over all of this machine's. What jobs do is read from the
database and Redis when asked, so it is right whichever machine answers and whatever was restarted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import redis
from django.conf import settings
from django.db.models import Avg, Count, F, Min, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from apps.jobs import presence
from apps.jobs.models import Job, Status
from apps.webhooks.models import Delivery

GetResponse = Callable[[HttpRequest], HttpResponse]
UNKNOWN = "unknown"  # an address that is no page: one label for all, as anybody can make up any number of them

requests = Counter("voicecloud_http_requests", "Requests answered.", ["method", "page", "status"])
seconds = Histogram(
    "voicecloud_http_request_seconds",
    "How long answers took.",
    ["page"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)


class MetricsMiddleware:
    """Counts each request under the name of its page."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        begun = time.perf_counter()
        response = self.get_response(request)
        page = request.resolver_match.view_name if request.resolver_match else UNKNOWN
        method = request.method if request.method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
        requests.labels(method, page, response.status_code).inc()
        seconds.labels(page).observe(time.perf_counter() - begun)
        return response


class Jobs(Collector):
    """Queues, workers and jobs as the database and Redis have them now."""

    def collect(self) -> Iterator[Metric]:
        yield from self._queues()
        yield from self._ended()

    def _queues(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("voicecloud_queue_waiting", "Jobs that wait for a worker.", labels=["queue"])
        oldest = GaugeMetricFamily("voicecloud_queue_oldest_seconds", "How long the oldest waits.", labels=["queue"])
        running = GaugeMetricFamily("voicecloud_queue_running", "Jobs that run.", labels=["queue"])
        retrying = GaugeMetricFamily("voicecloud_queue_retrying", "Jobs that wait for a next try.", labels=["queue"])
        workers = GaugeMetricFamily("voicecloud_workers", "Workers that live.", labels=["queue"])
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2.0) as wire:
            alive = presence.workers(wire)
        now = timezone.now()
        for queue in sorted(settings.RQ_QUEUES):
            jobs = Job.objects.filter(queue=queue)
            due = jobs.filter(status=Status.QUEUED, not_before=None)
            first = due.aggregate(since=Min("created_at"))["since"]
            waiting.add_metric([queue], due.count())
            oldest.add_metric([queue], (now - first).total_seconds() if first else 0.0)
            running.add_metric([queue], jobs.filter(status=Status.RUNNING).count())
            retrying.add_metric([queue], jobs.filter(status=Status.QUEUED).exclude(not_before=None).count())
            workers.add_metric([queue], alive.get(queue, 0))
        yield from (waiting, oldest, running, retrying, workers)

    def _ended(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("voicecloud_jobs", "Jobs, by where they stand.", labels=["kind", "status"])
        spent = GaugeMetricFamily("voicecloud_job_seconds_sum", "Seconds of done jobs.", labels=["kind"])
        mean = GaugeMetricFamily("voicecloud_job_wait_seconds_mean", "Seconds from submit to start.", labels=["kind"])
        for row in Job.objects.values("kind", "status").annotate(count=Count("pk")).order_by("kind", "status"):
            jobs.add_metric([row["kind"], row["status"]], row["count"])
        took, waited = Sum(F("ended_at") - F("started_at")), Avg(F("started_at") - F("created_at"))
        done = Job.objects.filter(status=Status.DONE).exclude(started_at=None).values("kind").order_by("kind")
        for each in done.annotate(took=took, waited=waited):
            spent.add_metric([each["kind"]], each["took"].total_seconds())
            mean.add_metric([each["kind"]], each["waited"].total_seconds())
        yield from (jobs, spent, mean)


class Webhooks(Collector):
    """Deliveries as the database has them now; each is kept for 30 days."""

    def collect(self) -> Iterator[Metric]:
        for status, what in (("waiting", "that wait for an attempt"), ("failed", "given up")):
            count = Delivery.objects.filter(status=status).count()
            yield GaugeMetricFamily(f"voicecloud_webhooks_{status}", f"Deliveries {what}.", value=count)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format; 404 without METRICS_TOKEN as a bearer token, as if there were nothing."""
    told = request.headers.get("Authorization", "")
    if not settings.METRICS_TOKEN or not constant_time_compare(told, f"Bearer {settings.METRICS_TOKEN}"):
        raise Http404
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(Jobs())
    registry.register(Webhooks())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
