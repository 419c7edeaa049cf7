"""Webhook endpoints and the log of their deliveries."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.forms import require_valid
from apps.api.paging import page_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.webhooks import (
    Delivery,
    DeliveryFilter,
    Endpoint,
    EndpointChange,
    NewEndpoint,
    Replayed,
    ReplayFailed,
    Secrets,
)
from apps.webhooks import models, services
from apps.webhooks.forms import EndpointForm

routes = Routes("webhooks")


def _endpoint(request: ApiRequest, code: UUID) -> models.Endpoint:
    rows = request.caller.workspace.webhook_endpoints.select_related("workspace")
    row: models.Endpoint = get_object_or_404(rows, code=code)
    return row


def _deliveries(request: ApiRequest) -> QuerySet[models.Delivery]:
    rows = models.Delivery.objects.filter(endpoint__workspace=request.caller.workspace)
    return rows.select_related("endpoint__workspace").defer("body")


@routes.read("/webhooks", Page[Endpoint], role="admin")
def list_endpoints(request: ApiRequest, paging: Query[Paging]) -> Page[Endpoint]:
    """Where the workspace's events go."""
    rows = request.caller.workspace.webhook_endpoints.all()
    return page_of(request, rows, paging, Page[Endpoint], Endpoint.of)


@routes.write("POST", "/webhooks", Endpoint, role="admin", status=201)
def create_endpoint(request: ApiRequest, given: NewEndpoint) -> Endpoint:
    """Add an endpoint; its secret is at /secrets."""
    chosen = require_valid(EndpointForm(given.model_dump())).cleaned_data
    caller = request.caller
    return Endpoint.of(services.create_endpoint(workspace=caller.workspace, user=caller.user, **chosen))


@routes.read("/webhooks/{uuid:endpoint}", Endpoint, role="admin")
def get_endpoint(request: ApiRequest, endpoint: UUID) -> Endpoint:
    """One endpoint."""
    return Endpoint.of(_endpoint(request, endpoint))


@routes.write("PATCH", "/webhooks/{uuid:endpoint}", Endpoint, role="admin")
def change_endpoint(request: ApiRequest, endpoint: UUID, given: EndpointChange) -> Endpoint:
    """Change an endpoint, or switch it on or off."""
    row, user = _endpoint(request, endpoint), request.caller.user
    change = given.model_dump(exclude_none=True)
    enabled = change.pop("enabled", None)
    if change:
        now = {"url": row.url, "description": row.description, "events": row.events}
        chosen = require_valid(EndpointForm({**now, **change})).cleaned_data
        services.change_endpoint(endpoint=row, user=user, **chosen)
    if enabled is True:
        services.enable(endpoint=row, user=user)
    elif enabled is False:
        services.disable(endpoint=row, user=user)
    return Endpoint.of(_endpoint(request, endpoint))


@routes.write("DELETE", "/webhooks/{uuid:endpoint}", None, role="admin", status=204)
def delete_endpoint(request: ApiRequest, endpoint: UUID) -> None:
    """Remove an endpoint with its log."""
    services.delete_endpoint(endpoint=_endpoint(request, endpoint), user=request.caller.user)


@routes.write("POST", "/webhooks/{uuid:endpoint}/secrets", Secrets, role="admin", secret=True)
def show_secrets(request: ApiRequest, endpoint: UUID) -> Secrets:
    """The secrets that sign. By POST, as it is written to the audit log."""
    row = _endpoint(request, endpoint)
    return Secrets(secrets=services.show_secret(endpoint=row, user=request.caller.user))


@routes.write("POST", "/webhooks/{uuid:endpoint}/rotate", Secrets, role="admin", secret=True)
def rotate_secret(request: ApiRequest, endpoint: UUID) -> Secrets:
    """Give an endpoint a new secret; for a day the earlier one signs too."""
    row = _endpoint(request, endpoint)
    services.rotate_secret(endpoint=row, user=request.caller.user)
    return Secrets(secrets=_endpoint(request, endpoint).secrets_in_force())


@routes.write("POST", "/webhooks/{uuid:endpoint}/test", Delivery, role="admin", status=201)
def send_test(request: ApiRequest, endpoint: UUID) -> Delivery:
    """Send a test event."""
    return Delivery.of(services.send_test(endpoint=_endpoint(request, endpoint), user=request.caller.user))


@routes.write("POST", "/webhooks/{uuid:endpoint}/replay-failed", Replayed, role="admin")
def replay_failed(request: ApiRequest, endpoint: UUID, given: ReplayFailed) -> Replayed:
    """Send again what failed for good since a time."""
    row = _endpoint(request, endpoint)
    return Replayed(count=services.replay_failed(endpoint=row, user=request.caller.user, since=given.since))


@routes.read("/webhooks/{uuid:endpoint}/deliveries", Page[Delivery], role="admin")
def list_deliveries(request: ApiRequest, endpoint: UUID, wanted: Query[DeliveryFilter]) -> Page[Delivery]:
    """What was sent to an endpoint, or is to be."""
    rows = _deliveries(request).filter(endpoint=_endpoint(request, endpoint))
    if wanted.status:
        rows = rows.filter(status=wanted.status)
    return page_of(request, rows, wanted, Page[Delivery], Delivery.of)


@routes.read("/deliveries/{uuid:delivery}", Delivery, role="admin")
def get_delivery(request: ApiRequest, delivery: UUID) -> Delivery:
    """One delivery."""
    return Delivery.of(get_object_or_404(_deliveries(request), code=delivery))


@routes.write("POST", "/deliveries/{uuid:delivery}/replay", Delivery, role="admin")
def replay_delivery(request: ApiRequest, delivery: UUID) -> Delivery:
    """Send a delivery again, at once."""
    row = get_object_or_404(_deliveries(request), code=delivery)
    services.replay(delivery=row, user=request.caller.user)
    return Delivery.of(_deliveries(request).get(pk=row.pk))
