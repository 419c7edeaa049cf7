"""What workspaces use and what that costs, added up from the rows, for staff."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import timezone

from apps.accounts.models import Membership, Workspace
from apps.billing.services.holdings import Kind, kinds
from apps.jobs.models import Job, Status

DAYS = 30
GB = 1_000_000_000
# The queue whose jobs compute: what they take is what machines with GPUs are paid for.
COMPUTES = "gpu"


@dataclass
class Held:
    """Files of one kind; ``size`` is None where rows do not know it."""

    name: str
    files: int
    size: int | None


@dataclass
class Usage:
    """What one workspace used in the last 30 days and holds now."""

    workspace: Workspace
    members: int = 0
    jobs: int = 0
    seconds: float = 0.0  # of computing, the last attempts
    held: list[Held] = field(default_factory=list)

    @property
    def stored(self) -> int:
        """Bytes that rows know of."""
        return sum(each.size or 0 for each in self.held)

    @property
    def files(self) -> int:
        """How many files."""
        return sum(each.files for each in self.held)

    @property
    def cost(self) -> float:
        """Computing of the period, and a month of what is stored now, at the prices of the settings."""
        storage = self.stored / GB * float(settings.COST_PER_GB_MONTH)
        return self.seconds / 3600 * float(settings.COST_PER_GPU_HOUR) + storage


def has_prices() -> bool:
    """Say whether there is a cost to show."""
    return bool(settings.COST_PER_GPU_HOUR or settings.COST_PER_GB_MONTH)


def since() -> datetime:
    """Return when the period begins."""
    return timezone.now() - timedelta(days=DAYS)


def by_computing(query: str = "") -> QuerySet[Any]:
    """Return workspaces with ``recent`` (jobs of the period) and ``spent`` (time of computing), the most first."""
    begin = since()
    found = Workspace.objects.annotate(
        recent=Count("jobs", filter=Q(jobs__created_at__gte=begin)),
        spent=Sum(
            F("jobs__ended_at") - F("jobs__started_at"),
            filter=Q(jobs__queue=COMPUTES, jobs__ended_at__gte=begin),
        ),
    )
    if query:
        found = found.filter(Q(name__icontains=query) | Q(slug__icontains=query))
    return found.order_by(F("spent").desc(nulls_last=True), "-recent", "pk")


def of(workspaces: Iterable[Any]) -> list[Usage]:
    """Return what each of these workspaces, as ``by_computing`` gives them, uses; in their order."""
    chosen = {workspace.pk: Usage(workspace, jobs=workspace.recent) for workspace in workspaces}
    for usage in chosen.values():
        spent = getattr(usage.workspace, "spent", None)
        usage.seconds = spent.total_seconds() if spent else 0.0
    members = Membership.objects.filter(workspace__in=list(chosen)).order_by()
    for row in members.values("workspace").annotate(count=Count("pk")):
        chosen[row["workspace"]].members = row["count"]
    for kind in kinds():
        for pk, held in _held(kind, kind.rows.filter(**{f"{kind.workspace}__in": list(chosen)})).items():
            chosen[pk].held.append(held)
    return list(chosen.values())


def _held(kind: Kind, rows: QuerySet[Any]) -> dict[int, Held]:
    figures = {"files": Count("pk")} | ({"size": Sum(kind.size)} if kind.size else {})
    grouped = rows.order_by().values(kind.workspace).annotate(**figures)
    return {row[kind.workspace]: Held(kind.name, row["files"], row.get("size")) for row in grouped}


def totals() -> list[Held]:
    """Return what all workspaces hold, by kind."""
    found = []
    for kind in kinds():
        each = _held(kind, kind.rows).values()
        size = sum(held.size or 0 for held in each) if kind.size else None
        found.append(Held(kind.name, sum(held.files for held in each), size))
    return found


def largest(count: int) -> list[tuple[int, Workspace]]:
    """Return the workspaces that hold most bytes with how many, the most first."""
    sizes: dict[int, int] = {}
    for kind in kinds():
        if kind.size:
            for pk, held in _held(kind, kind.rows).items():
                sizes[pk] = sizes.get(pk, 0) + (held.size or 0)
    most = sorted(((size, pk) for pk, size in sizes.items() if size), reverse=True)[:count]
    rows = Workspace.objects.in_bulk([pk for _, pk in most])
    return [(size, rows[pk]) for size, pk in most if pk in rows]


def jobs_by_kind(workspace: Workspace) -> list[dict[str, Any]]:
    """Return for each kind of job of the period its ``kind``, ``count``, ``failed`` and ``seconds``."""
    rows = Job.objects.filter(workspace=workspace, created_at__gte=since()).order_by("kind").values("kind")
    figures = rows.annotate(
        count=Count("pk"),
        failed=Count("pk", filter=Q(status=Status.FAILED)),
        spent=Sum(F("ended_at") - F("started_at")),
    )
    return [{**row, "seconds": row["spent"].total_seconds() if row["spent"] else None} for row in figures]
