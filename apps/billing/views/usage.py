"""What a workspace used: how much is left of each meter, graphs, who and what used it, and the ledger itself."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.billing import charts
from apps.billing.models import Subscription, UsageEvent
from apps.billing.periods import Period
from apps.billing.plans import METERS, NOT_YET
from apps.billing.services import usage as used
from apps.billing.services.subscriptions import subscription_of
from apps.errors import Refused

EVENTS_ON_A_PAGE = 25
COLUMNS = ("at", "meter", "unit", "kind", "state", "set_aside", "charged", "waived", "user", "api_key", "ended", "note")


@dataclass(frozen=True)
class Sheet:
    """One meter on the page. What is left is known of the present period alone: what was is over."""

    use: used.MeterUse
    chart: charts.Chart
    allowance: int | None
    plan_left: int | None
    granted: int
    level: charts.Level | None

    @property
    def left(self) -> int | None:
        """How much more can be reserved."""
        return None if self.plan_left is None else self.plan_left + self.granted


@require_safe
@member("viewer")
def usage(request: WorkspaceRequest) -> HttpResponse:
    """Use in this period, or in the one that begins on ``?period=``; ``?format=csv`` gives its ledger as a file."""
    subscription = subscription_of(request.workspace)
    choices = used.periods(subscription)
    period = _chosen(request.GET.get("period", ""), choices)
    events = used.events_of(request.workspace, period).select_related("user", "api_key")
    match request.GET.get("format", ""):
        case "csv":
            return _as_csv(events, f"{request.workspace.slug}-usage-{period.start:%Y-%m-%d}")
        case "":
            pass
        case _:
            raise Refused("The ledger comes as csv.", status=400)
    is_now = period == choices[0]
    context = {
        "workspace": request.workspace,
        "plan": subscription.effective(),
        "choices": choices,
        "period": period,
        "is_now": is_now,
        "sheets": _sheets(subscription, period, is_now=is_now),
        "page": Paginator(events, EVENTS_ON_A_PAGE).get_page(request.GET.get("page")),
        "now": timezone.now(),
    }
    return render(request, "billing/usage.html", context)


def _chosen(text: str, choices: list[Period]) -> Period:
    if not text:
        return choices[0]
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Refused("Choose one of the periods of the list.", status=400) from None
    found = next((period for period in choices if period.start.date() == day), None)
    if found is None:
        raise Refused("There is no such period; choose one of the list.", status=400)
    return found


def _sheets(subscription: Subscription, period: Period, *, is_now: bool) -> list[Sheet]:
    uses, days = used.used_in(subscription.workspace, period), used.days_of(period)
    grants = used.granted_left(subscription.workspace) if is_now else {}
    limits = subscription.effective().limits
    return [
        _sheet(use, charts.by_day(meter, days, use.days), limits[meter], grants.get(meter, 0), is_now=is_now)
        for meter, use in uses.items()
        if meter not in NOT_YET or use.total
    ]


def _sheet(use: used.MeterUse, chart: charts.Chart, allowance: int | None, granted: int, *, is_now: bool) -> Sheet:
    if not is_now or allowance is None:
        return Sheet(use, chart, allowance if is_now else None, None, granted, None)
    plan_left = max(0, allowance - use.from_plan)
    level = charts.level(use.used, use.reserved, plan_left, granted)
    return Sheet(use, chart, allowance, plan_left, granted, level)


def _as_csv(events: QuerySet[UsageEvent], name: str) -> HttpResponse:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for event in events.iterator(chunk_size=500):
        writer.writerow(_cells(event))
    response = HttpResponse(buffer.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _cells(event: UsageEvent) -> list[str | int]:
    return [
        event.created_at.isoformat(),
        event.meter,
        METERS[event.meter].unit,
        event.kind,
        event.state,
        event.amount,
        event.spent,
        event.waived,
        _safe(event.user.email if event.user else ""),
        _safe(event.api_key.name if event.api_key else ""),
        event.ended_at.isoformat() if event.ended_at else "",
        _safe(event.note),
    ]


def _safe(text: str) -> str:
    """Return the text so that a spreadsheet will not take it for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
