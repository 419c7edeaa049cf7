from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from apps.webhooks.courier import Courier


class Command(BaseCommand):
    help = "Send webhooks until told to stop."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take whether to end when nothing is due."""
        parser.add_argument("--once", action="store_true", help="send what is due now, then end")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        """Empty the outbox; SIGTERM and Ctrl-C end it within seconds, and what is under way then is sent again."""
        courier = Courier()
        if once:
            courier.run_until_empty()
            return

        def stop(number: int, frame: FrameType | None) -> None:
            courier.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        courier.run()
