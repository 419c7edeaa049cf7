from __future__ import annotations

import socket
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Answer pages and WebSockets, in this one process."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take an address, or a listening socket that several processes share."""
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--fd", type=int, default=None, help="number of an inherited listening socket")

    def handle(self, *args: Any, host: str, port: int, fd: int | None, **options: Any) -> None:
        """Serve until told to stop; open requests get three seconds to end."""
        config = uvicorn.Config(
            "voicecloud.asgi:application",
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            proxy_headers=settings.SECURE_PROXY_SSL_HEADER is not None,
            timeout_graceful_shutdown=3,
            # Longer than proxies keep a connection (nginx: 60 s), so that none sends into one that just ends.
            timeout_keep_alive=75,
            ws_max_size=64 * 1024,
        )
        uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)] if fd is not None else None)
