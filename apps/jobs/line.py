"""Whose turn it is: the order in which a queue's jobs are taken, fair between workspaces.

RQ carries no jobs, only calls ("there is work in this queue"); which job a worker then takes is read from the rows.

A job that was begun and came back goes first. Else turns are given by start-time fair queueing (Goyal, Vin and Cheng,
1996): each turn of a workspace lasts 1/weight of virtual time; whose next turn can begin earliest has it, on a tie who
waits for fewer jobs. Whoever was away begins at the present time, so a workspace waits for one turn of each other one
at most, however many jobs those have, and a weight of 3 takes three turns while others take one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils import timezone

from apps.accounts.models import Workspace
from apps.jobs.models import Job, Share, Status


@dataclass(frozen=True)
class Turn:
    """A job that may be taken now; ``limit`` is how many its workspace may have running in this queue, 0: any.

    The turn would last from ``start`` to ``finish`` in the queue's virtual time.
    """

    job: int
    workspace: int
    limit: int
    start: float
    finish: float


def due(queue: str) -> QuerySet[Job]:
    """Return the queued jobs of a queue that do not wait for a later try."""
    waiting = Q(not_before=None) | Q(not_before__lte=timezone.now())
    return Job.objects.filter(waiting, queue=queue, status=Status.QUEUED)


def running(queue: str) -> QuerySet[Job]:
    """Return the running jobs of a queue."""
    return Job.objects.filter(queue=queue, status=Status.RUNNING)


def turns(queue: str) -> list[Turn]:
    """Return for each workspace that waits and is below its limit the job that it may start, the next one first."""
    waiting = {pk: (first, count) for pk, first, count in _grouped(due(queue), first=Min("pk"), count=Count("pk"))}
    begun = dict(_grouped(due(queue).exclude(started_at=None), first=Min("pk")))
    busy = dict(_grouped(running(queue).filter(workspace__in=waiting), count=Count("pk")))
    shares = Share.objects.filter(queue=queue)
    now = shares.aggregate(now=Max("start"))["now"] or 0.0
    ended = dict(shares.filter(workspace__in=waiting).values_list("workspace", "finish"))
    ranked: list[tuple[tuple[float, ...], Turn]] = []
    for workspace, limit, weight in _plans(waiting):
        if not limit or busy.get(workspace, 0) < limit:
            first, count = waiting[workspace]
            start = max(now, ended.get(workspace, 0.0))
            turn = Turn(begun.get(workspace, first), workspace, limit, start, start + 1.0 / weight)
            ranked.append(((workspace not in begun, start, count, turn.job), turn))
    return [turn for _, turn in sorted(ranked, key=lambda pair: pair[0])]


def take(queue: str, turn: Turn) -> None:
    """Write down that the workspace has had this turn."""
    Share.objects.bulk_create(
        [Share(workspace_id=turn.workspace, queue=queue, start=turn.start, finish=turn.finish)],
        update_conflicts=True,
        unique_fields=["workspace", "queue"],
        update_fields=["start", "finish"],
    )


def _grouped(jobs: QuerySet[Job], **figures: Any) -> Any:
    """Return rows of (workspace, figure, ...)."""
    return jobs.order_by().values_list("workspace").annotate(**figures)


def _plans(workspaces: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """Yield workspace, how many jobs of a queue it may run at once, and its weight."""
    rows = Workspace.objects.filter(pk__in=list(workspaces)).order_by()
    for pk, limit, weight in rows.values_list("pk", "job_limit", "job_weight"):
        yield pk, settings.JOBS_PER_WORKSPACE if limit is None else limit, weight


def startable(queue: str) -> int:
    """Return how many jobs of a queue free workers could start now, were there enough of them."""
    waiting = dict(_grouped(due(queue), count=Count("pk")))
    busy = dict(_grouped(running(queue).filter(workspace__in=waiting), count=Count("pk")))
    free = 0
    for workspace, limit, _ in _plans(waiting):
        count = waiting[workspace]
        free += min(count, max(0, limit - busy.get(workspace, 0))) if limit else count
    return free


def place_in_line(job: Job) -> int | None:
    """Return about how many turns it takes until the job starts: 1 for the next; None when it is not in line.

    Its workspace's older jobs go before it, and up to as many of each other workspace.
    """
    if job.status != Status.QUEUED or job.not_before is not None:
        return None
    line = due(job.queue).order_by()
    own = line.filter(workspace=job.workspace_id, pk__lt=job.pk).count() + 1
    order = [turn.workspace for turn in turns(job.queue)]
    others: dict[int, int] = dict(_grouped(line.exclude(workspace=job.workspace_id), count=Count("pk")))
    # In each round those are before it whose turn comes first; all of them while it is at its own limit.
    before = order[: order.index(job.workspace_id)] if job.workspace_id in order else list(others)
    return own + sum(min(count, own if workspace in before else own - 1) for workspace, count in others.items())
