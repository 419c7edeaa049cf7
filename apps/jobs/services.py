"""The life of a job. Every move is one conditional update: who changes no row has lost the race and does nothing.

queued -> running by ``claim`` and ``claim_next``; running -> queued by ``hand_back`` and ``retry``; an unfinished job
-> its one end by ``end``.
"""

from __future__ import annotations

import logging
import secrets
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import django_rq
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from redis.exceptions import RedisError

from apps import logs
from apps.accounts import keys
from apps.accounts.models import User, Workspace
from apps.billing.models import UsageEvent
from apps.billing.services import ledger
from apps.jobs import counters, letters, line
from apps.jobs.announcements import announce
from apps.jobs.events import publish
from apps.jobs.faults import RETRY_AFTER
from apps.jobs.folders import remove_folder
from apps.jobs.models import ENDED, UNFINISHED, Job, Status

log = logging.getLogger(__name__)
QUEUES = ("gpu", "default")
# A job whose attempts die this often in a row without a checkpoint between them is itself what kills them.
MAX_DEATHS_WITHOUT_PROGRESS = 12
# Cooperative stop first; the worker ends what has not stopped by then.
HARD_STOP_AFTER_SECONDS = 3.0
WORK = "apps.jobs.worker.work"
# How often a worker looks for a job anew when others were quicker each time.
_CLAIMS_TRIED = 20
Task = Callable[[int], None]


@transaction.atomic
def submit(
    *,
    workspace: Workspace,
    user: User | None,
    kind: str,
    title: str,
    task: Task,
    queue: Literal["gpu", "default"],
    url: str = "",
    time_limit: int = 3600,
    meter: str = "",
    amount: int = 0,
) -> Job:
    """Insert a queued job and hand it to ``queue`` once the caller's transaction is committed.

    ``task`` is a function decorated by ``apps.jobs.worker.task``; ``kind`` a word for people and filters;
    ``url`` the page of what is being made; ``time_limit`` the seconds that one attempt may take; ``amount`` of
    ``meter`` the most that it can cost, which is set aside: raises QuotaExceeded when less is left. Without a meter it
    is free.
    """
    path = f"{task.__module__}.{task.__qualname__}"
    code = uuid.uuid4()
    usage = _reserve(workspace, user, f"job:{code}", kind, meter, amount) if meter else None
    job = Job.objects.create(
        code=code,
        usage=usage,
        workspace=workspace,
        created_by=user,
        kind=kind,
        title=title[:200],
        task=path,
        queue=queue,
        url=url,
        time_limit=time_limit,
        request_id=logs.request_id.get(),
    )
    if settings.JOBS_INLINE:
        transaction.on_commit(lambda: task(job.pk))
    else:
        transaction.on_commit(lambda: enqueue(job))
    publish(job)
    announce(job, Status.QUEUED)
    return job


def _reserve(workspace: Workspace, user: User | None, key: str, kind: str, meter: str, amount: int) -> UsageEvent:
    return ledger.reserve(
        workspace=workspace, meter=meter, amount=amount, key=key, kind=kind, user=user, api_key=keys.in_use.get()
    )


def enqueue(job: Job) -> None:
    """Tell the workers of the job's queue that there is work."""
    call_workers(job.queue)


def call_workers(queue: str, times: int = 1) -> None:
    """Put calls into a queue in Redis, each for one worker to take the job whose turn it is then.

    When Redis is away this is logged only: the rows stay queued and ``sweep`` calls later. A call too many is harmless:
    who takes it finds nothing to do.
    """
    try:
        rq_queue = django_rq.get_queue(queue, commit_mode="auto")
        for _ in range(times):
            # No limit here: it is the job's own, and which job this becomes is not known yet.
            rq_queue.enqueue_call(func=WORK, args=(queue,), timeout=-1, result_ttl=0, failure_ttl=3600)
    except (RedisError, OSError):
        log.exception("the queue %s cannot be reached; its workers will be called later", queue)


def claim_next(queue: str, *, worker: str) -> Job | None:
    """Make the job whose turn it is this worker's; None when there is none, or none whose workspace is below its limit.

    See ``apps.jobs.line`` for the order.
    """
    for _ in range(_CLAIMS_TRIED):
        turns = line.turns(queue)
        if not turns:
            return None
        for turn in turns:
            if (job := _claim_turn(queue, turn, worker)) is not None:
                return job
    return None


def _claim_turn(queue: str, turn: line.Turn, worker: str) -> Job | None:
    with transaction.atomic():
        if turn.limit:
            # Two workers that both count one too few would both start a job: counted under the workspace's lock.
            Workspace.objects.select_for_update(no_key=True).get(pk=turn.workspace)
            if line.running(queue).filter(workspace=turn.workspace).count() >= turn.limit:
                return None
        # Whoever holds it is cancelling it: waiting for that here, with the workspace held, could be for ever.
        if not Job.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=turn.job).exists():
            return None
        job = claim(turn.job, worker=worker)
        if job is not None:
            line.take(queue, turn)
        return job


@transaction.atomic
def claim(job_pk: int, *, worker: str) -> Job | None:
    """Make the queued job this worker's, as a new attempt; None when it cannot be had: taken, ended, gone or waiting
    for its next try."""
    now = timezone.now()
    claimed = Job.objects.filter(Q(not_before=None) | Q(not_before__lte=now), pk=job_pk, status=Status.QUEUED).update(
        not_before=None,
        status=Status.RUNNING,
        attempt=F("attempt") + 1,
        worker=worker[:100],
        started_at=now,
        heartbeat_at=now,
        progress_at_start=F("progress"),
        expected_end_at=None,
    )
    if not claimed:
        return None
    job = Job.objects.select_related("workspace", "created_by").get(pk=job_pk)
    publish(job)
    announce(job, Status.RUNNING)
    if job.attempt == 1:
        transaction.on_commit(lambda: counters.count_wait(job))
    return job


def beat(job_pk: int, *, worker: str) -> None:
    """Say that the worker that runs the job is alive."""
    Job.objects.filter(pk=job_pk, status=Status.RUNNING, worker=worker).update(heartbeat_at=timezone.now())


def end(
    job_pk: int,
    *,
    status: Status,
    message: str = "",
    error_id: str = "",
    attempt: int | None = None,
    delivered: int | None = None,
) -> bool:
    """End the job; the only way a job stops. Say whether this call was the one that did.

    One that is done is charged what it ``delivered``, in its meter's unit; None is all that was set aside. Any other
    end gives that back. Done is reached only from running. With ``attempt`` only that attempt can end it, while it
    runs: a worker that was given up for lost changes nothing when it comes back, also when its job is queued again.
    """
    if status not in ENDED:
        raise ValueError(f"{status} is not an end")
    begun = status == Status.DONE or attempt is not None
    rows = Job.objects.filter(pk=job_pk, status__in=[Status.RUNNING] if begun else UNFINISHED)
    if attempt is not None:
        rows = rows.filter(attempt=attempt)
    progress = {"progress": 1.0} if status == Status.DONE else {}
    with transaction.atomic():
        if not rows.update(
            status=status,
            message=message[:500],
            error_id=error_id,
            ended_at=timezone.now(),
            not_before=None,
            **progress,
        ):
            return False
        job = Job.objects.select_related("workspace", "created_by").get(pk=job_pk)
        _forget_checkpoint(job)
        _pay(job, delivered)
        publish(job)
        announce(job, status)
        # None of these may undo what is committed, nor keep the others from their turn.
        transaction.on_commit(lambda: _call_for_the_next(job), robust=True)
        transaction.on_commit(lambda: counters.count_end(job), robust=True)
        transaction.on_commit(lambda: letters.tell(job), robust=True)
    log.info("job %s: %s %s after attempt %s %s", job.code, job.kind, status, job.attempt, error_id)
    return True


def _pay(job: Job, delivered: int | None) -> None:
    if job.usage_id is None:
        return
    if job.status == Status.DONE:
        ledger.settle(job.usage_id, delivered=delivered)
    else:
        ledger.release(job.usage_id)


def _call_for_the_next(job: Job) -> None:
    """Call a worker where the end of a job lets its workspace's next one start: earlier calls found it at its limit."""
    limit = settings.JOBS_PER_WORKSPACE if job.workspace.job_limit is None else job.workspace.job_limit
    if limit and job.attempt and line.due(job.queue).filter(workspace=job.workspace_id).exists():
        enqueue(job)


def _forget_checkpoint(job: Job) -> None:
    name = job.checkpoint.name
    if name:
        Job.objects.filter(pk=job.pk).update(checkpoint="")
        transaction.on_commit(lambda: default_storage.delete(name), robust=True)
    transaction.on_commit(lambda: remove_folder(job.code), robust=True)


def cancel(job: Job) -> bool:
    """Stop the job: at once when queued, within seconds when running. False when it has already ended."""
    now = timezone.now()
    with transaction.atomic():
        queued = Job.objects.filter(pk=job.pk, status=Status.QUEUED)
        if queued.update(cancel_requested_at=now):
            return end(job.pk, status=Status.CANCELLED, message="Cancelled before it started.")
        running = Job.objects.filter(pk=job.pk, status=Status.RUNNING)
        asked = running.filter(cancel_requested_at=None).update(cancel_requested_at=now)
        if asked:
            publish(job)
        return bool(asked) or running.exists()


def hand_back(job: Job, *, reason: str) -> bool:
    """Return a running job whose attempt died to the queue, or end it; say whether this call did.

    ``job`` is the row as last read: if another attempt has begun since, nothing is changed. It is ended as cancelled
    when that was asked for, and as failed when it has died too often without progress.
    """
    if job.cancel_requested_at is not None:
        return end(job.pk, status=Status.CANCELLED, message="Cancelled.", attempt=job.attempt)
    if job.attempt - job.checkpoint_attempt >= MAX_DEATHS_WITHOUT_PROGRESS:
        error_id = secrets.token_hex(8)
        log.error("job %s: died %s times without progress, error %s", job.code, MAX_DEATHS_WITHOUT_PROGRESS, error_id)
        sentence = f"It stopped our machine again and again, so we gave up (error {error_id})."
        return end(job.pk, status=Status.FAILED, message=sentence, error_id=error_id, attempt=job.attempt)
    with transaction.atomic():
        back = Job.objects.filter(
            pk=job.pk, status=Status.RUNNING, attempt=job.attempt, heartbeat_at=job.heartbeat_at
        ).update(status=Status.QUEUED, worker="", message=reason)
        if back:
            transaction.on_commit(lambda: enqueue(job))
            publish(job)
            announce(job, Status.QUEUED)
    if back:
        counters.count("job_deaths", job.kind)
        log.warning("job %s: attempt %s is lost, queued again", job.code, job.attempt)
    return bool(back)


def retry(job: Job, *, what: str, error_id: str) -> bool:
    """Try a running job again later, after a fault that may pass; end it as failed when it was tried often enough.

    ``job`` is this attempt's row, ``what`` could not be had, in words for the user. Say whether it will be tried.
    """
    if job.retries >= len(RETRY_AFTER):
        sentence = f"{what} could not be had, again and again, so we gave up (error {error_id})."
        end(job.pk, status=Status.FAILED, message=sentence, error_id=error_id, attempt=job.attempt)
        return False
    wait = RETRY_AFTER[job.retries]
    with transaction.atomic():
        mine = Job.objects.filter(pk=job.pk, status=Status.RUNNING, attempt=job.attempt, cancel_requested_at=None)
        back = mine.update(
            status=Status.QUEUED,
            worker="",
            message=f"{what} could not be had; it goes on by itself.",
            retries=F("retries") + 1,
            not_before=timezone.now() + wait,
        )
        if back:
            publish(job)
            transaction.on_commit(lambda: _call_for_the_next(job), robust=True)
            announce(job, Status.QUEUED)
    if not back:
        # Asked to stop meanwhile, or not this attempt's any more: then this changes nothing either.
        end(job.pk, status=Status.CANCELLED, message="Cancelled.", attempt=job.attempt)
        return False
    counters.count("job_retries", job.kind)
    log.warning("job %s: attempt %s failed by a fault that may pass, again in %s", job.code, job.attempt, wait)
    return True


def requeue(job: Job, *, user: User | None = None) -> bool:
    """Run a failed or cancelled job again, from the start of its life; False when it stands otherwise.

    What it may cost is set aside anew, for ``user``. Raises QuotaExceeded when less is left.
    """
    with transaction.atomic():
        again = Job.objects.filter(pk=job.pk, status__in=[Status.FAILED, Status.CANCELLED]).update(
            status=Status.QUEUED,
            message="",
            error_id="",
            stage="",
            progress=0.0,
            cancel_requested_at=None,
            ended_at=None,
            started_at=None,
            retries=0,
            checkpoint_attempt=F("attempt"),
        )
        if again:
            if (usage := job.usage) is not None:
                key = f"job:{job.code}:{uuid.uuid4().hex[:8]}"
                usage = _reserve(job.workspace, user, key, job.kind, usage.meter, usage.amount)
                Job.objects.filter(pk=job.pk).update(usage=usage)
            transaction.on_commit(lambda: enqueue(job))
            publish(job)
            announce(job, Status.QUEUED)
    return bool(again)


def sweep() -> dict[str, int]:
    """Bring back what was lost and stop what nobody waits for, and say how many of each: running jobs whose worker is
    gone (lost), queued jobs that Redis does not know (forgotten), jobs of deleted workspaces (closed). What unfinished
    jobs have set aside stays so (extended).
    """
    return {
        "closed": _sweep_closed(),
        "lost": _sweep_lost(),
        "forgotten": _sweep_forgotten(),
        "extended": _extend_reservations(),
    }


def _extend_reservations() -> int:
    soon = timezone.now() + ledger.RESERVED_FOR / 2
    waiting = Job.objects.filter(status__in=UNFINISHED, usage__expires_at__lt=soon)
    return ledger.extend(pk for pk in waiting.values_list("usage", flat=True) if pk is not None)


def _sweep_closed() -> int:
    waiting = Job.objects.filter(status__in=UNFINISHED, cancel_requested_at=None)
    return sum(cancel(job) for job in waiting.exclude(workspace__deleted_at=None).select_related("workspace"))


def _sweep_lost() -> int:
    before = timezone.now() - timedelta(seconds=settings.JOB_LOST_AFTER_SECONDS)
    lost = Job.objects.filter(status=Status.RUNNING).filter(Q(heartbeat_at__lt=before) | Q(heartbeat_at=None))
    reason = "Its worker stopped; it goes on with the next free one."
    return sum(hand_back(job, reason=reason) for job in lost.select_related("workspace"))


def _sweep_forgotten() -> int:
    """Call workers for jobs that could start and that no call waits for: Redis lost it, or was away."""
    count = 0
    for queue in QUEUES:
        missing = line.startable(queue) - django_rq.get_queue(queue).count
        if missing > 0:
            call_workers(queue, missing)
            count += missing
    return count
