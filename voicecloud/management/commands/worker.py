from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Run the jobs of one queue until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the queue and how many threads its jobs may use."""
        parser.add_argument("queue", choices=sorted(settings.RQ_QUEUES))
        parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of one job")

    def handle(self, *args: Any, queue: str, threads: int, **options: Any) -> None:
        """Set up the process before the engine's libraries read how, then work."""
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        os.environ.setdefault("NUMBA_CACHE_DIR", str(settings.DATA_DIR / "numba"))
        from apps.jobs import folders
        from apps.jobs.process import make_worker

        worker = make_worker(queue)
        folders.tidy()
        if worker.vitals is not None:
            worker.vitals.start()
        worker.work(logging_level="WARNING")
