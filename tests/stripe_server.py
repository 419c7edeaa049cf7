"""A local Stripe over HTTP on the loopback interface: for tests, and for ``manage.py up --demo-billing``.

It refuses what Stripe would refuse (``stripe_validation`` checks each request against the types that the ``stripe``
package publishes), answers in the shapes of Stripe's own examples, has a pay page and a portal, and tells of all that
happens by signed webhooks. Started by itself it delivers those to ``--webhook`` and keeps its state in ``--state``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import hmac
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests import stripe_pages
from tests.stripe_life import Declined, Life
from tests.stripe_routes import Missing, route_of
from tests.stripe_rows import VERSION, Json
from tests.stripe_validation import Invalid, decode, validate

KEY, SECRET = "sk_test_local", "whsec_local"  # what anybody may know: it listens on this machine only
LARGEST = 1_000_000
Post = Callable[[bytes, str], int]


class Refusal(Exception):
    """An answer that is an error: its status and body."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        error = {"type": kind, "message": message, "param": param, "code": code}
        self.status, self.body = status, {"error": {name: value for name, value in error.items() if value is not None}}


class LocalStripe(Life):
    """The server: its objects, what it refused, and the events that wait to be delivered."""

    def __init__(self, *, port: int = 0, key: str = KEY, secret: str = SECRET, path: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.key, self.secret = key, secret
        self.refusals: list[Json] = []  # requests that failed the validation
        self.requests: list[tuple[str, str, Json]] = []  # method, path, parameters
        self.hanging = threading.Event()  # while set, no request is answered
        self.http = _Server(("127.0.0.1", port), _Handler)
        self.http.stripe = self
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        super().__init__(path)

    # --- requests ---------------------------------------------------------------------------------------------------
    def answer(self, method: str, path: str, query: str, body: str, headers: Any) -> tuple[int, Json]:
        """Return status and body for a request to the API."""
        with self.lock:
            try:
                self._check_headers(method, path, headers)
                return 200, _shown(self._call(method, path, query, body, headers.get("Idempotency-Key")))
            except Refusal as refusal:
                return refusal.status, refusal.body
            finally:
                self.save()

    def _check_headers(self, method: str, path: str, headers: Any) -> None:
        refusal = None
        if headers.get("Authorization") != f"Bearer {self.key}":
            refusal = Refusal(401, "invalid_request_error", "Invalid API Key provided.")
        elif headers.get("Stripe-Version") != VERSION:
            refusal = Refusal(400, "invalid_request_error", f"Invalid Stripe API version: this is {VERSION}.")
        if refusal is not None:
            self._remember(method, path, "", str(refusal))
            raise refusal

    def _remember(self, method: str, path: str, text: str, message: str) -> None:
        self.refusals.append({"method": method, "path": path, "text": text, "message": message})

    def _call(self, method: str, path: str, query: str, body: str, key: str | None) -> Json:
        text = body if method == "POST" else query
        try:
            route, code = route_of(method, path)
            given = validate(decode(text), route.parameters)
        except Invalid as refusal:
            self._remember(method, path, text, refusal.message)
            raise _refusal_of(refusal) from None
        self.requests.append((method, path, given))
        digest = hashlib.sha256(f"{method} {path} {text}".encode()).hexdigest()
        if method == "POST" and key and key in self.answers:
            return self._replay(key, digest, path)
        try:
            row = route.handler(self, given, code)
        except Invalid as refusal:
            if not isinstance(refusal, Missing):
                self._remember(method, path, text, refusal.message)
            raise _refusal_of(refusal) from None
        except Declined as refusal:
            raise Refusal(402, "card_error", str(refusal), code="card_declined") from None
        answer = self._expanded(row, given.get("expand", []))
        if method == "POST" and key:
            self.answers[key] = [digest, json.loads(json.dumps(answer))]
        return answer

    def _replay(self, key: str, digest: str, path: str) -> Json:
        known, answer = self.answers[key]
        if known != digest:
            self._remember("POST", path, key, "The same key with other parameters.")
            raise Refusal(
                400,
                "idempotency_error",
                "Keys for idempotent requests can only be used with the same parameters they were first used with.",
            )
        return dict(answer)

    def _expanded(self, row: Json, paths: list[str]) -> Json:
        if not paths:
            return row
        copied: Json = json.loads(json.dumps(row))
        for path in paths:
            if path.count(".") > 3:
                raise _refusal_of(Invalid("You cannot expand more than 4 levels of a property.", param="expand"))
            places: list[Json] = [copied]
            *ways, last = path.split(".")
            for way in ways:
                steps = [place[way] for place in places if place.get(way)]
                places = [one for step in steps for one in (step if isinstance(step, list) else [step])]
            for place in places:
                if last not in place:
                    raise _refusal_of(Invalid(f"This property cannot be expanded ({path}).", param="expand"))
                place[last] = self.by_id.get(place[last], place[last]) if place[last] else None
        return copied

    # --- webhooks ---------------------------------------------------------------------------------------------------
    def signed(self, code: str, *, at: float | None = None, secret: str | None = None) -> tuple[bytes, str]:
        """Return an event as it is sent, and its signature header."""
        body = json.dumps(_shown(self.by_id[code])).encode()
        return body, sign(body, secret or self.secret, at)

    def deliver(self, post: Post) -> None:
        """Deliver the events that wait, each once, in their order."""
        while self.pending:
            with self.lock:
                code = self.pending.pop(0)
                message = self.signed(code)
            assert post(*message) == 200, self.by_id[code]["type"]

    @contextlib.contextmanager
    def running(self) -> Iterator[LocalStripe]:
        """Answer requests in threads of this process."""
        thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.hanging.clear()
            self.http.shutdown()
            self.http.server_close()
            thread.join(5)


def sign(body: bytes, secret: str, at: float | None = None) -> str:
    """Return the signature header of a webhook, of now or of another time."""
    moment = int(time.time() if at is None else at)
    mac = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return f"t={moment},v1={mac.hexdigest()}"


def _shown(row: Any) -> Any:
    """Leave out what this server keeps for itself."""
    if isinstance(row, dict):
        return {name: _shown(value) for name, value in row.items() if not name.startswith("_")}
    return [_shown(one) for one in row] if isinstance(row, list) else row


def _refusal_of(refusal: Invalid) -> Refusal:
    status = 404 if isinstance(refusal, Missing) else 400
    return Refusal(status, "invalid_request_error", refusal.message, refusal.param, refusal.code)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stripe: LocalStripe


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Say nothing: the site's own log has what matters."""

    def _serve(self) -> None:
        stripe, address = self.server.stripe, urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        if length > LARGEST:
            self.close_connection = True
            return self._send(413, b"", "text/plain")
        body = self.rfile.read(length).decode()
        while stripe.hanging.is_set():
            time.sleep(0.02)
        if not address.path.startswith("/v1/"):
            status, text, location = stripe_pages.page(stripe, self.command, address.path, body)
            return self._send(status, text.encode(), "text/html; charset=utf-8", location)
        status, answer = stripe.answer(self.command, address.path, address.query, body, self.headers)
        return self._send(status, json.dumps(answer).encode(), "application/json")

    do_GET = do_POST = do_DELETE = _serve

    def _send(self, status: int, body: bytes, kind: str, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Request-Id", f"req_{time.monotonic_ns():x}")
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def post_to(url: str) -> Post:
    """Return a function that sends a webhook there and returns the status, 0 when nobody answered."""

    def post(body: bytes, signature: str) -> int:
        headers = {"Content-Type": "application/json", "Stripe-Signature": signature}
        request = urllib.request.Request(url, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    return post


def keep_delivering(stripe: LocalStripe, post: Post) -> None:
    """Deliver whatever happens; what was not taken is sent again."""
    while True:
        code = next(iter(stripe.pending), None)
        if code is None:
            time.sleep(0.2)
            continue
        with stripe.lock:
            message = stripe.signed(code)
        if post(*message) != 200:
            time.sleep(1.0)
            continue
        with stripe.lock:
            stripe.pending.remove(code)
            stripe.save()


def main() -> None:
    """Run until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--webhook", required=True, help="where events are sent")
    parser.add_argument("--state", type=Path, required=True, help="file that keeps the objects")
    parser.add_argument("--secret", required=True, help="file with the API key and the webhooks' secret, a line each")
    options = parser.parse_args()
    key, secret = Path(options.secret).read_text().split()
    stripe = LocalStripe(port=options.port, key=key, secret=secret, path=options.state)
    sender = threading.Thread(target=keep_delivering, args=(stripe, post_to(options.webhook)), daemon=True)
    sender.start()
    with contextlib.suppress(KeyboardInterrupt):
        stripe.http.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
