"""The audit log of a workspace, to read and to take away."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.accounts.forms import AuditFilterForm
from apps.accounts.models import AuditEvent
from apps.errors import Refused

PER_PAGE = 50
ROWS_AT_ONCE = 500
COLUMNS = ["at", "user", "action", "target", "data"]
CONTENT_TYPES = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


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


def _csv_lines(rows: Iterable[list[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerows(rows)
    return buffer.getvalue()


class _File:
    """A log as a file that is written while it is sent, so that a long one is never in memory whole."""

    def __init__(self, events: QuerySet[AuditEvent], kind: str) -> None:
        self.events, self.kind = events, kind
        self.last: AuditEvent | None = None

    def begin(self) -> str:
        return _csv_lines([COLUMNS]) if self.kind == "csv" else '{"events": ['

    def more(self) -> str:
        """Return the next lines, empty at the end; by position, as nothing may stay open between two blocks."""
        events, first = self.events, self.last is None
        if self.last is not None:
            at = self.last.created_at
            events = events.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=self.last.pk))
        batch = list(events[:ROWS_AT_ONCE])
        if not batch:
            return ""
        self.last = batch[-1]
        rows = [_row(event) for event in batch]
        if self.kind == "csv":
            return _csv_lines([_cell(row[column]) for column in COLUMNS] for row in rows)
        return ("" if first else ", ") + ", ".join(json.dumps(row) for row in rows)

    def end(self) -> str:
        return "" if self.kind == "csv" else "]}"

    def blocks(self) -> Iterator[str]:
        yield self.begin()
        while block := self.more():
            yield block
        yield self.end()

    async def blocks_async(self) -> AsyncIterator[str]:
        yield self.begin()
        while block := await sync_to_async(self.more)():
            yield block
        yield self.end()


def _as_file(request: HttpRequest, events: QuerySet[AuditEvent], kind: str, name: str) -> StreamingHttpResponse:
    file = _File(events, kind)
    # Under ASGI Django would read a plain iterator to its end before it sends the first byte.
    blocks = file.blocks_async() if isinstance(request, ASGIRequest) else file.blocks()
    response = StreamingHttpResponse(blocks, content_type=CONTENT_TYPES[kind])
    response["Content-Disposition"] = f'attachment; filename="{name}.{kind}"'
    response["Cache-Control"] = "private, no-store"
    return response


@require_safe
@member("admin")
def audit(request: WorkspaceRequest) -> HttpResponseBase:
    """Who did what when. ``?action=``, ``person=``, ``since=`` and ``until=`` narrow it; ``?format=csv`` or ``json``
    gives all of that as a file.
    """
    events = AuditEvent.objects.filter(workspace=request.workspace).select_related("user")
    form = AuditFilterForm(request.GET, workspace=request.workspace)
    kind = request.GET.get("format", "")
    if kind and kind not in CONTENT_TYPES:
        raise Refused("The audit log comes as csv or json.", status=400)
    if form.is_valid():
        events = events.filter(form.chosen)
    elif kind:
        raise Refused("Choose the days as year-month-day, such as 2026-01-31.", status=422)
    if kind:
        return _as_file(request, events, kind, f"{request.workspace.slug}-audit")
    page = Paginator(events, PER_PAGE).get_page(request.GET.get("page"))
    context = {"workspace": request.workspace, "page": page, "form": form}
    answer: HttpResponse = render(request, "accounts/audit.html", context, status=200 if form.is_valid() else 422)
    return answer
