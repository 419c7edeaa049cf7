from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db import close_old_connections

from apps.api.idempotency import tidy as tidy_api_calls
from apps.billing.services import ledger, money, subscriptions, webhook
from apps.jobs import expiry, folders, orphans, services, tracebacks
from apps.pages import erasure
from apps.studio import retention
from apps.voices.services.uploads import sweep_uploads
from apps.webhooks.services import tidy as tidy_webhooks

log = logging.getLogger(__name__)
SELDOM_SECONDS = 600.0
OFTEN: tuple[Callable[[], Any], ...] = (services.sweep, subscriptions.begin, erasure.erase_due)
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
    tidy_api_calls,
    webhook.sweep,
    webhook.tidy,
    subscriptions.mend,
    ledger.tidy,
    money.cancel_for_deleted,
    orphans.sweep_orphans,
)


class Command(BaseCommand):
    help = "Bring back lost jobs and remove what has expired: once, or for ever with --every."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the seconds between two rounds."""
        parser.add_argument("--every", type=float, default=None, help="seconds between two rounds; once without it")

    def handle(self, *args: Any, every: float | None, **options: Any) -> None:
        """Do one round of everything, then, if asked, go on: lost jobs each time, the rest every ten minutes."""
        if every is None:
            for duty in OFTEN + SELDOM:
                duty()
            return
        over = Over()
        signal.signal(signal.SIGTERM, over.stop)
        seldom_at = float("-inf")
        with contextlib.suppress(KeyboardInterrupt):
            while not over.said:
                do_round(OFTEN)
                if time.monotonic() - seldom_at >= SELDOM_SECONDS:
                    for duty in SELDOM:
                        do_round((duty,))
                        do_round(OFTEN)  # what housekeeping takes, nobody's lost job waits for
                        if over.said:
                            return
                    seldom_at = time.monotonic()
                time.sleep(every)


class Over:
    """The wish that it ends: it interrupts what is done, and is remembered where a library swallows interruptions."""

    said = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Hear a signal."""
        self.said = True
        raise KeyboardInterrupt


def do_round(duties: tuple[Callable[[], Any], ...]) -> None:
    """Do each duty; one that fails is logged, keeps no other from its turn, and is done again in the next round."""
    for duty in duties:
        try:
            duty()
        except Exception:
            log.exception("%s.%s failed", duty.__module__, duty.__qualname__)
        close_old_connections()
