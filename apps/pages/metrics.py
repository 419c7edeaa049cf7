"""Figures for Prometheus, at ``/metrics`` for whoever knows METRICS_TOKEN.

What requests do is counted by each web process and added up over all of this machine's; all else is read when asked
(``apps.pages.gathered``).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from apps.pages.gathered import Gathered

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


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format; 404 without METRICS_TOKEN as a bearer token, as if there were nothing."""
    told = request.headers.get("Authorization", "")
    if not settings.METRICS_TOKEN or not constant_time_compare(told, f"Bearer {settings.METRICS_TOKEN}"):
        raise Http404
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(Gathered())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
