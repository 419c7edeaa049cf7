from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from apps.jobs import expiry, folders, orphans, services, tracebacks
from apps.pages import erasure
from apps.studio import retention
from apps.voices.services.uploads import sweep_uploads
from apps.webhooks.services import tidy as tidy_webhooks

log = logging.getLogger(__name__)
SELDOM_SECONDS = 600.0
OFTEN: tuple[Callable[[], Any], ...] = (services.sweep, erasure.erase_due)
SELDOM: tuple[Callable[[], Any], ...] = (
    retention.apply_changes,
    retention.warn,
    expiry.expire,
    retention.expire_sources,
    tracebacks.expire,
    folders.tidy,
    sweep_uploads,
    erasure.tell,
    tidy_webhooks,
    orphans.sweep_orphans,
)


class Command(BaseCommand):
    help = "Bring back lost jobs and remove what has expired: once, or for ever with --every."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the seconds between two rounds."""
        parser.add_argument("--every", type=float, default=None, help="seconds between two rounds; once without it")

    def handle(self, *args: Any, every: float | None, **options: Any) -> None:
        """Do one round of everything, then, if asked, go on: lost jobs each time, the rest every ten minutes."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if every is None:
            for duty in OFTEN + SELDOM:
                duty()
            return
        seldom_at = float("-inf")
        try:
            while True:
                do_round(OFTEN)
                if time.monotonic() - seldom_at >= SELDOM_SECONDS:
                    for duty in SELDOM:
                        do_round((duty,))
                        do_round(OFTEN)  # what housekeeping takes, nobody's lost job waits for
                    seldom_at = time.monotonic()
                time.sleep(every)
        except KeyboardInterrupt:
            return


def do_round(duties: tuple[Callable[[], Any], ...]) -> None:
    """Do each duty; one that fails is logged, keeps no other from its turn, and is done again in the next round."""
    for duty in duties:
        try:
            duty()
        except Exception:
            log.exception("%s.%s failed", duty.__module__, duty.__qualname__)
        close_old_connections()
