"""What was used of the plan."""

from __future__ import annotations

from ninja import Query

from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.paging import page_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.workspace import Event, Held, Meter, Usage
from apps.billing.plans import METERS
from apps.billing.services.holdings import held
from apps.billing.services.ledger import balances
from apps.billing.services.subscriptions import plan_of

routes = Routes("usage")


@routes.read("/usage", Usage)
def get_usage(request: ApiRequest) -> Usage:
    """The plan, and what there is of each meter in the current period."""
    workspace = request.caller.workspace
    meters = [
        Meter.of(balance, name=METERS[slug].name, unit=METERS[slug].unit)
        for slug, balance in balances(workspace).items()
    ]
    plan = plan_of(workspace)
    holdings = [
        Held(meter=slug, name=METERS[slug].name, unit=METERS[slug].unit, held=count, limit=plan.limits[slug])
        for slug, count in held(workspace).items()
    ]
    return Usage(plan=plan.slug, meters=meters, holdings=holdings)


@routes.read("/usage/events", Page[Event])
def list_usage_events(request: ApiRequest, paging: Query[Paging]) -> Page[Event]:
    """The ledger: what was set aside, charged and given back."""
    rows = request.caller.workspace.usage_events.select_related("user")
    return page_of(request, rows, paging, Page[Event], Event.of)
