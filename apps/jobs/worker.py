"""The worker's side of a job: claim it, give its body a ``Run``, end it once."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from functools import wraps

from django.utils.module_loading import import_string
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from apps import logs, tracking
from apps.errors import Refused
from apps.jobs import faults, services, tracebacks
from apps.jobs.models import Job, Status
from apps.jobs.run import Run
from ml.errors import AudioError, Cancelled, MemoryShortage, WeightsError

log = logging.getLogger(__name__)
Body = Callable[[Run], None]


def task(body: Body) -> services.Task:
    """Make a body into what can be submitted: ``f(job_pk)`` claims the job and carries it out here and now.

    Workers do not call it: they claim the job whose turn it is (``work``), which knows its task by name.
    """

    @wraps(body)
    def perform(job_pk: int) -> None:
        job = services.claim(job_pk, worker="inline")
        if job is not None:
            carry_out(job, body)

    return perform


jobs_begun = 0  # in this process: a call that finds no job leaves nothing behind


def work(queue: str) -> None:
    """What a call in a queue does: take the job whose turn it is, if any, and carry it out within its time limit."""
    job = services.claim_next(queue, worker=os.environ["RQ_WORKER_ID"])
    if job is not None:
        global jobs_begun
        jobs_begun += 1
        body: Body = import_string(job.task).__wrapped__
        with UnixSignalDeathPenalty(job.time_limit, JobTimeoutException):  # type: ignore[no-untyped-call]
            carry_out(job, body)


def carry_out(job: Job, body: Body) -> None:
    """Run the body of a claimed job and end the job once.

    A refusal or an unusable file fails the job with its own sentence; anything else that raises is our fault, logged
    under an id. If it may pass by itself the job is tried again later, else the user is told the id.
    """
    belong_to(job)
    run = Run(job)
    try:
        run.open()
        body(run)
        run.end(Status.DONE)
    except (Refused, AudioError) as error:
        if isinstance(error, AudioError) and faults.disk_is_full():
            _fail(run, error)  # the file may be fine: what was read of it could not be written
        else:
            run.end(Status.FAILED, message=str(error))
    except WeightsError as error:
        # Its sentence says what to do (train the voice again); that it came to this is for us to look at.
        log.exception("job %s: weights that cannot be used", job.code)
        run.end(Status.FAILED, message=str(error))
    except MemoryShortage as error:
        log.exception("job %s: too little memory", job.code)
        run.end(Status.FAILED, message=str(error))
    except Cancelled:
        run.end(Status.CANCELLED, message="Cancelled.")
    except JobTimeoutException:
        run.end(Status.FAILED, message=too_long(job))
    except Exception as error:  # noqa: BLE001 - the door of the job: whatever comes is our fault, and told as such
        _fail(run, error)
    finally:
        run.close()
        tracking.flush()  # a work-horse may be killed, and ends without a farewell


def _fail(run: Run, error: Exception) -> None:
    error_id = uuid.uuid4().hex
    log.exception("job %s: error %s", run.job.code, error_id, extra={"error_id": error_id})
    tracebacks.keep(run.job, error, error_id=error_id)
    if (what := faults.passing(error)) is not None:
        services.retry(run.job, what=what, error_id=error_id)
    else:
        run.end(Status.FAILED, message=f"Something went wrong on our side (error {error_id}).", error_id=error_id)


def belong_to(job: Job | None) -> None:
    """Let all that is logged from here on carry the job, its workspace and the request it came from, or nobody's."""
    logs.job.set(str(job.code) if job else logs.NOBODY)
    logs.workspace.set(job.workspace.slug if job else logs.NOBODY)
    logs.request_id.set((job and job.request_id) or logs.NOBODY)


def too_long(job: Job) -> str:
    """Return the sentence for a job that ran into its time limit."""
    minutes = max(1, round(job.time_limit / 60))
    return f"It took longer than {minutes} min and was stopped. Try a shorter recording or a faster preset."
