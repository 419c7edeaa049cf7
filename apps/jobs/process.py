"""The worker process: takes calls from its queue, has a work-horse run the jobs, watches and, if need be, kills it.

RQ does the queue. What it knows too late or not at all (a dead worker is noticed after two minutes,
a stopped job is merely marked) is decided here, by the job's row.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import random
import secrets
import shutil
import socket
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import django_rq
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.module_loading import autodiscover_modules
from redis.exceptions import RedisError
from rq.executions import Execution
from rq.worker import Worker

from apps.jobs import engines, folders, presence, services, worker
from apps.jobs.lifeline import die_with_parent
from apps.jobs.models import ENDED, Job, Status
from apps.jobs.resident import Resident
from apps.jobs.vitals import Vitals
from ml.catalog import CONVERTERS

log = logging.getLogger(__name__)
# Seconds after its limit before a work-horse that does not listen is killed, or one whose job has been taken away.
GRACE_SECONDS = 3.0
# What it may take after the end of its job: a storage and a mail server that are slow have their own limits.
FAREWELL_SECONDS = 30.0
# A work-horse makes room for pages and for the worker that speaks for its life.
NICENESS = 10
# When a work-horse has had its day: what jobs leave behind, in memory or in a library's state, goes with it.
JOBS_AT_MOST = 200
GROWTH_BYTES = 1024**3
# RQ waits for a job for 15 s less than this, and says that the worker lives each time: every second.
_WORKER_TTL = 16


class ResidentWorker(Worker):
    """Runs jobs one after the other in a work-horse that stays, forked from a process that has the engine's libraries.

    What stays in it (weights, opened voices) makes the next job start at once; docs/jobs.md has the figures of other
    ways. It is replaced when a job kills it or has to be killed, when it has grown, and after so many jobs. This
    process itself never starts CUDA, so the fork may.
    """

    resident: Resident | None = None
    claimed: tuple[int, int] | None = None  # the job that the work-horse was seen to run, and its attempt
    beaten_at = 0.0
    stray_since: float | None = None
    vitals: Vitals | None = None  # of make_worker's: what is told with each sign of life

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say that this worker lives: RQ calls it every second, idle or not. One that cannot be heard works on."""
        try:
            super().heartbeat(timeout, pipeline)
            if self.vitals is not None and not self.is_horse:
                wire = self.connection if pipeline is None else pipeline
                presence.say(wire, self.queue_names(), self.name, self.vitals.say())
        except RedisError as error:
            log.warning("worker %s: Redis does not hear it: %s", self.name, error)

    def register_death(self) -> None:
        """Leave the list of the living at once when told to stop."""
        super().register_death()  # type: ignore[no-untyped-call]
        presence.leave(self.connection, self.queue_names(), self.name)
        self.dismiss()

    def execute_job(self, job: Any, queue: Any) -> None:
        """Have a call carried out. When Redis fails meanwhile the worker goes on; a lost call is made again."""
        try:
            super().execute_job(job, queue)
        except RedisError:
            log.warning("worker %s: Redis was away around a call", self.name, exc_info=True)
            if self._horse_pid:  # nobody watches it any more
                self.dismiss()
                self._horse_pid = 0
                self.settle_or_leave()

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        """Give the call to the work-horse, to a new one if need be."""
        os.environ["RQ_WORKER_ID"] = self.name
        self.beaten_at = time.monotonic()
        self.claimed, self.stray_since = None, None
        if self.resident is None or not self.resident.can_go_on:
            self.dismiss()
            connections.close_all()  # none may be shared with it
            self.resident = Resident.start(self.become_work_horse, self.carry_out)
        assert self.execution is not None  # prepared just before
        order = f"{job.id} {queue.name} {self.execution.id}"
        if not self.resident.order(order):  # died in this very moment
            self.dismiss()
            self.resident = Resident.start(self.become_work_horse, self.carry_out)
            self.resident.order(order)
        self._horse_pid = self.resident.pid
        if self._stop_requested:  # told to stop since the call was taken, when there was no work-horse to stop
            self.kill_horse()

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        """Wait until the work-horse has carried out its call, or has died over it."""
        assert self.resident is not None
        status = self.resident.wait()
        if status is None:
            return self.resident.pid, os.EX_OK, None
        pid = self.resident.pid
        self.dismiss()
        return pid, status, None

    def dismiss(self) -> None:
        """End the work-horse, if there is one."""
        if self.resident is not None:
            self.resident.end()
            self.resident = None
            if self.vitals is not None:
                self.vitals.forget_cache()

    def become_work_horse(self) -> None:
        """Set up the new process: it dies with this one, and makes room for pages."""
        die_with_parent(int(self.pid or 0))
        self.setup_work_horse_signals()  # type: ignore[no-untyped-call]
        self._is_horse = True
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
        gc.freeze()  # what was imported is there to stay: each look through it would take longer than a small job
        self.grown_from = memory_bytes()

    def carry_out(self, order: str) -> bool:
        """Carry out one call in the work-horse; False when this was its last."""
        call_id, queue_name, execution_id = order.split()
        reseed()
        worker.belong_to(None)
        begun = worker.jobs_begun
        call = self.job_class.fetch(call_id, connection=self.connection, serializer=self.serializer)
        queue = next(queue for queue in self.queues if queue.name == queue_name)
        execution = Execution.fetch(execution_id, call_id, connection=self.connection)
        self.executions[execution.id] = execution
        self.perform_job(call, queue, execution)
        connections.close_all()
        self.executions.clear()
        worker.belong_to(None)
        if worker.jobs_begun == begun:  # there was nothing to do, and so is nothing to clear away
            return True
        if self.vitals is not None:
            self.vitals.tell_cache(engines.cache_now())
        free_memory()
        return worker.jobs_begun < JOBS_AT_MOST and memory_bytes() - self.grown_from < GROWTH_BYTES

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """Look after the work-horse, every second; neither an absent Redis nor an absent database stops it."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError:
            log.warning("worker %s: Redis is away, the job goes on", self.name, exc_info=True)
        try:
            self.watch()
        except DatabaseError:
            log.warning("worker %s: the database is away, the job goes on", self.name, exc_info=True)
            connection.close()

    def own_job(self) -> Job | None:
        """Return the job that stands in the books as run by this worker."""
        return self.own_jobs().first()

    def own_jobs(self) -> QuerySet[Job]:
        """Return the jobs that stand so, the newest first; an earlier one is there while it could not be settled."""
        mine = Job.objects.filter(queue__in=self.queue_names(), status=Status.RUNNING, worker=self.name)
        return mine.select_related("workspace").order_by("-started_at")

    def watch(self) -> None:
        """Say that the job is alive; kill the work-horse that overran its limit, does not stop, or lost its job."""
        now = time.monotonic()
        row = self.own_job()
        if row is None:
            # Not claimed yet; or it was this worker's, and has been ended or given to another, and the work-horse does
            # not notice. What it ended itself it may finish: letters are written after that.
            if self.claimed is not None:
                self.stray_since = self.stray_since or now
                pk, attempt = self.claimed
                by_itself = Job.objects.filter(pk=pk, attempt=attempt, status__in=ENDED, cancel_requested_at=None)
                patience = FAREWELL_SECONDS if by_itself.exists() else GRACE_SECONDS
                if now - self.stray_since > patience:
                    self.kill_horse()
            return
        self.claimed, self.stray_since = (row.pk, row.attempt), None
        if self.vitals is not None:
            self.vitals.job = str(row.code)
        if now - self.beaten_at >= settings.JOB_HEARTBEAT_SECONDS:
            services.beat(row.pk, worker=self.name)
            self.beaten_at = now
        asked = row.cancel_requested_at
        unheard = asked is not None and (timezone.now() - asked).total_seconds() > services.HARD_STOP_AFTER_SECONDS
        if unheard or self.has_overrun(row):
            self.kill_horse()

    @staticmethod
    def has_overrun(row: Job) -> bool:
        """Say whether the work-horse has had its time and did not stop by itself."""
        spent = row.seconds_spent()
        return spent is not None and spent > row.time_limit + GRACE_SECONDS

    def monitor_work_horse(self, job: Any, queue: Any, execution: Any) -> None:
        """Wait for the work-horse, then settle what it left: a job still running in the books died with it."""
        try:
            super().monitor_work_horse(job, queue, execution)
        finally:
            if self.vitals is not None:
                self.vitals.job = ""
            self.settle_or_leave()

    def settle_or_leave(self) -> None:
        """Do as ``settle``; while the database is away it is left to the sweep, which misses the heartbeat."""
        try:
            self.settle()
        except DatabaseError:
            log.warning("worker %s: the database is away; the sweep settles its job", self.name, exc_info=True)
            connection.close()

    def settle(self) -> None:
        """Return the job of a dead work-horse to the queue, or end it; remove what its attempt left on the disk."""
        for row in self.own_jobs():
            shutil.rmtree(folders.folder_of(row.code) / f"run-{row.attempt}", ignore_errors=True)
            if self.has_overrun(row):
                services.end(row.pk, status=Status.FAILED, message=worker.too_long(row), attempt=row.attempt)
            else:
                services.hand_back(row, reason="It was interrupted and goes on where it was.")
        folders.tidy()
        connection.close()

    def handle_warm_shutdown_request(self) -> None:
        """When told to stop, give the job back at once: it goes on from its last checkpoint elsewhere or later."""
        if self.horse_pid:
            self.kill_horse()


def reseed() -> None:
    """Give each job random numbers of its own: not what its parent's fork inherited, nor what the job before left."""
    import numpy
    import torch

    random.seed(secrets.randbits(64))
    numpy.random.seed(secrets.randbits(32))
    torch.manual_seed(secrets.randbits(63))


def memory_bytes() -> int:
    """Return what this process holds in memory of its own, in bytes."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def free_memory() -> None:
    """Give back to the system, and on a GPU to other processes, what no object needs any more."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def make_worker(queue: str) -> ResidentWorker:
    """Return a worker for a queue by name.

    Imports the engine's libraries and all tasks beforehand, but runs nothing of them: threads do not survive a fork.
    """
    # Without it the mere question would start CUDA in this process.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    import_module("ml.engine")
    for converter in CONVERTERS.values():
        converter.load()
    autodiscover_modules("tasks")
    # A pool's threads and sockets would be shared with every fork.
    connections["default"].settings_dict["OPTIONS"].pop("pool", None)
    redis_queue = django_rq.get_queue(queue)
    worker = ResidentWorker(
        [redis_queue],
        connection=redis_queue.connection,
        name=f"{queue}-{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(3)}",
        job_monitoring_interval=1,
        worker_ttl=_WORKER_TTL,
    )
    worker.vitals = Vitals(queue)
    return worker
