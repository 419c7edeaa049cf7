"""Endpoints, their secrets, the log of deliveries; for admins, as an endpoint learns all that the workspace does."""

from __future__ import annotations

import json
import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.errors import Refused
from apps.webhooks import catalog, services
from apps.webhooks.forms import EndpointForm, ReplayForm
from apps.webhooks.models import Delivery, Endpoint, Status

PER_PAGE = 50


def _endpoint(request: WorkspaceRequest, code: uuid.UUID) -> Endpoint:
    return get_object_or_404(request.workspace.webhook_endpoints.select_related("workspace"), code=code)


def _delivery(request: WorkspaceRequest, code: uuid.UUID) -> Delivery:
    rows = Delivery.objects.filter(endpoint__workspace=request.workspace).select_related("endpoint__workspace")
    return get_object_or_404(rows, code=code)


@require_safe
@member("admin")
def endpoint_list(request: WorkspaceRequest) -> HttpResponse:
    """Show where the workspace's events go, and how that goes."""
    endpoints = request.workspace.webhook_endpoints.annotate(
        waiting=Count("deliveries", filter=Q(deliveries__status=Status.WAITING)),
        failed=Count("deliveries", filter=Q(deliveries__status=Status.FAILED)),
    )
    return render(request, "webhooks/list.html", {"workspace": request.workspace, "endpoints": endpoints})


@require_http_methods(["GET", "HEAD", "POST"])
@member("admin")
def new(request: WorkspaceRequest) -> HttpResponse:
    """Add an endpoint."""
    form = EndpointForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            endpoint = services.create_endpoint(workspace=request.workspace, user=request.user, **form.cleaned_data)
        except Refused as refusal:
            form.add_error("url", refusal.message)
        else:
            messages.success(request, "Saved. Give the receiver its secret, then send a test event.")
            return redirect("webhooks:detail", request.workspace.slug, endpoint.code)
    context = {"workspace": request.workspace, "form": form}
    return render(request, "webhooks/form.html", context, status=422 if form.is_bound else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@member("admin")
def edit(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Change an endpoint's address and events."""
    endpoint = _endpoint(request, code)
    form = EndpointForm.of(endpoint, request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            services.change_endpoint(endpoint=endpoint, user=request.user, **form.cleaned_data)
        except Refused as refusal:
            form.add_error("url", refusal.message)
        else:
            messages.success(request, "Saved.")
            return redirect("webhooks:detail", request.workspace.slug, endpoint.code)
    context = {"workspace": request.workspace, "endpoint": endpoint, "form": form}
    return render(request, "webhooks/form.html", context, status=422 if form.is_bound else 200)


def _detail_page(
    request: WorkspaceRequest, endpoint: Endpoint, *, secrets: list[str] | None = None, status: int = 200
) -> HttpResponse:
    deliveries = endpoint.deliveries.prefetch_related("log")
    chosen: dict[str, str] = {}
    for field, known in (("status", Status.values), ("event", [*catalog.EVENTS, catalog.TEST])):
        value = request.GET.get(field, "")
        if value in known:
            deliveries, chosen[field] = deliveries.filter(**{field: value}), value
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "endpoint": endpoint,
        "page": Paginator(deliveries, PER_PAGE).get_page(request.GET.get("page")),
        "chosen": chosen,
        "statuses": Status.choices,
        "events": [*catalog.EVENTS, catalog.TEST],
        "has_failed": endpoint.deliveries.filter(status=Status.FAILED).exists(),
        "replay_form": ReplayForm(),
        "secrets": secrets,
        "overlap_until": endpoint.previous_secret_until if len(secrets or []) > 1 else None,
    }
    return render(request, "webhooks/detail.html", context, status=status)


@require_safe
@member("admin")
def detail(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Show an endpoint with its log; ``?status=`` and ``?event=`` narrow it, unknown words do not."""
    return _detail_page(request, _endpoint(request, code))


@never_cache
@require_POST
@member("admin")
def secret(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Show the endpoint's secrets; by POST, as it is written to the audit log."""
    endpoint = _endpoint(request, code)
    return _detail_page(request, endpoint, secrets=services.show_secret(endpoint=endpoint, user=request.user))


@require_POST
@member("admin")
def rotate(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Give the endpoint a new secret."""
    endpoint = _endpoint(request, code)
    services.rotate_secret(endpoint=endpoint, user=request.user)
    messages.success(request, "There is a new secret. For 24 hours the earlier one signs too.")
    return redirect("webhooks:detail", request.workspace.slug, code)


@require_POST
@member("admin")
def enable(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Send to the endpoint again."""
    services.enable(endpoint=_endpoint(request, code), user=request.user)
    messages.success(request, "Events are sent again.")
    return redirect("webhooks:detail", request.workspace.slug, code)


@require_POST
@member("admin")
def disable(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Send nothing to the endpoint for now."""
    services.disable(endpoint=_endpoint(request, code), user=request.user)
    messages.success(request, "Nothing is sent until you switch it on again.")
    return redirect("webhooks:detail", request.workspace.slug, code)


@require_POST
@member("admin")
def delete(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Remove the endpoint with its log."""
    services.delete_endpoint(endpoint=_endpoint(request, code), user=request.user)
    messages.success(request, "The endpoint is gone.")
    return redirect("webhooks:list", request.workspace.slug)


@require_POST
@member("admin")
def test(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Send a test event and show what comes of it."""
    sent = services.send_test(endpoint=_endpoint(request, code), user=request.user)
    return redirect("webhooks:delivery", request.workspace.slug, sent.code)


@require_POST
@member("admin")
def replay_failed(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Send again what failed for good since a time."""
    endpoint, form = _endpoint(request, code), ReplayForm(request.POST)
    if not form.is_valid():
        raise Refused("Choose since when failed deliveries are sent again.", status=422)
    since = timezone.now() - form.cleaned_data["since"]
    count = services.replay_failed(endpoint=endpoint, user=request.user, since=since)
    if count == services.REPLAYED_AT_ONCE:
        messages.warning(request, f"The oldest {count} are sent again. Press it once more for the rest.")
    else:
        messages.success(request, f"{count} deliver{'y is' if count == 1 else 'ies are'} sent again.")
    return redirect("webhooks:detail", request.workspace.slug, code)


@require_safe
@member("admin")
def delivery(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Show one delivery: what was sent, and what each attempt came to."""
    found = _delivery(request, code)
    context = {
        "workspace": request.workspace,
        "delivery": found,
        "endpoint": found.endpoint,
        "attempts": list(found.log.all()),
        "is_soon": found.is_soon,
        "payload": json.dumps(json.loads(found.body), indent=2, ensure_ascii=False),
    }
    return render(request, "webhooks/delivery.html", context)


@require_POST
@member("admin")
def replay(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Send one delivery again."""
    services.replay(delivery=_delivery(request, code), user=request.user)
    messages.success(request, "It is sent again.")
    return redirect("webhooks:delivery", request.workspace.slug, code)
