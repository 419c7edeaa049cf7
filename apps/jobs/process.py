"""The worker process: takes ids from its queue, runs each in a process of its own, watches and, if need be, kills it.

RQ does the queue and the forking. What it knows too late or not at all (a dead worker is noticed after two minutes,
a stopped job is merely marked) is decided here, by the job's row.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import shutil
import socket
import time
from importlib import import_module
from typing import Any

import django
from django.apps import apps

if not apps.ready:  # a spawned work-horse begins with the import of this module
    django.setup()

import django_rq
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection, connections
from django.utils import timezone
from django.utils.module_loading import autodiscover_modules
from redis.exceptions import RedisError
from rq.worker import SpawnWorker, Worker

from apps.jobs import folders, presence, services
from apps.jobs.lifeline import die_with_parent
from apps.jobs.models import Job, Status
from apps.jobs.worker import too_long
from ml.catalog import CONVERTERS

log = logging.getLogger(__name__)
# Seconds after its limit before a work-horse that does not listen is killed, or one whose job has been taken away.
GRACE_SECONDS = 3.0
# RQ waits for a job for 15 s less than this, and says that the worker lives each time: every second.
_WORKER_TTL = 16


class ForkingWorker(Worker):
    """Forks for each job from a process that has the engine's libraries loaded: a job starts at once."""

    claimed = False
    beaten_at = 0.0
    stray_since: float | None = None

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say that this worker lives: RQ calls it every second, idle or not."""
        super().heartbeat(timeout, pipeline)
        presence.say(self.connection if pipeline is None else pipeline, self.queue_names(), self.name)

    def register_death(self) -> None:
        """Leave the list of the living at once when told to stop."""
        super().register_death()  # type: ignore[no-untyped-call]
        presence.leave(self.connection, self.queue_names(), self.name)

    def fork_work_horse(self, job: Any, queue: Any) -> None:
        """Start the work-horse; no database connection may be shared with it."""
        connections.close_all()
        self.beaten_at = time.monotonic()
        self.claimed, self.stray_since = False, None
        super().fork_work_horse(job, queue)

    def main_work_horse(self, job: Any, queue: Any) -> None:
        """Run the job in the new process, with random numbers of its own."""
        die_with_parent(int(self.pid or 0))
        reseed()
        super().main_work_horse(job, queue)

    def maintain_heartbeats(self, job: Any, execution: Any) -> None:
        """Look after the work-horse, every second; neither an absent Redis nor an absent database stops it."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError:
            log.warning("worker %s: Redis is away, the job goes on", self.name, exc_info=True)
        try:
            self.watch(job.args[0])
        except DatabaseError:
            log.warning("worker %s: the database is away, the job goes on", self.name, exc_info=True)
            connection.close()

    def watch(self, job_pk: int) -> None:
        """Say that the job is alive; kill the work-horse that overran its limit, does not stop, or lost its job."""
        now = time.monotonic()
        if now - self.beaten_at >= settings.JOB_HEARTBEAT_SECONDS:
            services.beat(job_pk, worker=self.name)
            self.beaten_at = now
        row = Job.objects.filter(pk=job_pk, status=Status.RUNNING, worker=self.name).first()
        if row is None:
            # Not claimed yet, which can take seconds in a fresh process; or it was this worker's, and has been ended
            # or given to another, and the work-horse does not notice.
            if self.claimed:
                self.stray_since = self.stray_since or now
                if now - self.stray_since > GRACE_SECONDS:
                    self.kill_horse()
            return
        self.claimed, self.stray_since = True, None
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
            self.settle(job.args[0])

    def settle(self, job_pk: int) -> None:
        """Return the job of a dead work-horse to the queue, or end it; remove what its attempt left on the disk."""
        row = Job.objects.select_related("workspace").filter(pk=job_pk, status=Status.RUNNING, worker=self.name).first()
        if row is not None:
            shutil.rmtree(folders.folder_of(row.code) / f"run-{row.attempt}", ignore_errors=True)
            if self.has_overrun(row):
                services.end(row.pk, status=Status.FAILED, message=too_long(row), attempt=row.attempt)
            else:
                services.hand_back(row, reason="It was interrupted and goes on where it was.")
        folders.tidy()
        connection.close()

    def handle_warm_shutdown_request(self) -> None:
        """When told to stop, give the job back at once: it goes on from its last checkpoint elsewhere or later."""
        if self.horse_pid:
            self.kill_horse()


class SpawningWorker(ForkingWorker, SpawnWorker):
    """Starts a fresh process for each job: CUDA cannot be used in a forked one."""


def reseed() -> None:
    """Give this process random numbers of its own: a fork inherits its parent's, the same for each job."""
    import numpy
    import torch

    random.seed(secrets.randbits(64))
    numpy.random.seed(secrets.randbits(32))
    torch.manual_seed(secrets.randbits(63))


def make_worker(queue: str) -> ForkingWorker:
    """Return a worker for a queue by name, of the kind that this machine can use.

    Imports the engine's libraries and all tasks beforehand, but runs nothing of them: threads do not survive a fork.
    """
    # Without it the mere question would start CUDA in this process.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    import torch

    spawning = torch.cuda.is_available()
    if not spawning:
        import_module("ml.engine")
        for converter in CONVERTERS.values():
            converter.load()
        autodiscover_modules("tasks")
    # A pool's threads and sockets would be shared with every fork.
    connections["default"].settings_dict["OPTIONS"].pop("pool", None)
    redis_queue = django_rq.get_queue(queue)
    kind = SpawningWorker if spawning else ForkingWorker
    return kind(
        [redis_queue],
        connection=redis_queue.connection,
        name=f"{queue}-{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(3)}",
        job_monitoring_interval=1,
        worker_ttl=_WORKER_TTL,
    )
