"""Real receivers on loopback, each in threads of its own, that behave in every way a receiver can."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int = 204, body: bytes = b"", **headers: str) -> Behaviour:
    """A receiver that answers so."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


@dataclass
class Receiver:
    """A web server whose behaviour a test can change while it runs."""

    server: ThreadingHTTPServer
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    behave: Behaviour = field(default_factory=answer)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}/hooks"

    def wait_for(self, count: int, *, seconds: float = 15.0) -> None:
        """Return once so many requests have come in."""
        limit = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < limit, f"{len(self.received)} of {count} after {seconds} s"
            time.sleep(0.01)


@contextmanager
def listening(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            with receiver.lock:
                receiver.received.append(Received(self.path, headers, body, time.monotonic()))
                receiver.at_once += 1
                receiver.most_at_once = max(receiver.most_at_once, receiver.at_once)
            try:
                receiver.behave(self)
            except OSError:
                pass  # the sender has gone: that is what some of the tests are about
            finally:
                with receiver.lock:
                    receiver.at_once -= 1

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # As many as a test lets come at once: what the default of 5 turns away knocks again only seconds later.
        request_queue_size = 128

        def handle_error(self, *args: Any) -> None:
            pass  # a handshake that the sender broke off

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver = Receiver(server, "https" if context else "http")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
