"""The audit log of a workspace, to read and to take away."""

from __future__ import annotations

import csv
import io
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.accounts.models import AuditEvent
from apps.errors import Refused

PER_PAGE = 50
COLUMNS = ["at", "user", "action", "target", "data"]


def _row(event: AuditEvent) -> dict[str, Any]:
    return {
        "at": event.created_at.isoformat(),
        "user": event.user.email if event.user else None,
        "action": event.action,
        "target": event.target,
        "data": event.data,
    }


def _cell(value: Any) -> str:
    """Return the value as text that a spreadsheet will not take for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _as_csv(events: QuerySet[AuditEvent], name: str) -> HttpResponse:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for event in events:
        row = _row(event)
        writer.writerow([_cell(row[column]) for column in COLUMNS])
    response = HttpResponse(buffer.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _as_json(events: QuerySet[AuditEvent], name: str) -> JsonResponse:
    response = JsonResponse({"events": [_row(event) for event in events]})
    response["Content-Disposition"] = f'attachment; filename="{name}.json"'
    return response


@require_safe
@member("admin")
def audit(request: WorkspaceRequest) -> HttpResponse:
    """Who did what when; ``?action=`` filters, ``?format=csv`` or ``json`` gives all of it as a file."""
    events = AuditEvent.objects.filter(workspace=request.workspace).select_related("user")
    actions = list(events.order_by("action").values_list("action", flat=True).distinct())
    action = request.GET.get("action", "")
    if action:
        events = events.filter(action=action)
    name = f"{request.workspace.slug}-audit"
    match request.GET.get("format", ""):
        case "csv":
            return _as_csv(events, name)
        case "json":
            return _as_json(events, name)
        case "":
            page = Paginator(events, PER_PAGE).get_page(request.GET.get("page"))
            context = {"workspace": request.workspace, "page": page, "actions": actions, "action": action}
            return render(request, "accounts/audit.html", context)
        case _:
            raise Refused("The audit log comes as csv or json.", status=400)
