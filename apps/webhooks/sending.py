"""One request to a receiver: to an address that was checked, within a time that nothing can stretch, no redirects."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import certifi

from apps.errors import Refused
from apps.webhooks import addresses
from apps.webhooks.addresses import Address, Place

TOTAL_SECONDS = 10.0
ANSWER_BYTES_READ = 64 * 1024
ANSWER_CHARACTERS_KEPT = 1024
CONNECTIONS_TRIED = 3
GONE = 410


@dataclass(frozen=True)
class Outcome:
    """What came of a request: ``error`` is empty when the receiver took it, else a sentence for people."""

    status_code: int | None
    error: str
    answer: str
    duration_ms: int


class Connection(http.client.HTTPConnection):
    """A connection to one of the addresses found, whatever their name means a moment later.

    ``Host`` and the certificate's check go by the name, as ever.
    """

    def __init__(self, place: Place, found: list[Address], deadline: float) -> None:
        super().__init__(place.host, place.port)
        self.default_port = 443 if place.secure else 80
        self._secure, self._found, self._deadline = place.secure, found, deadline
        self.aborted = False
        self._wire: socket.socket | None = None  # ``sock`` is forgotten while an answer is still read from it

    def connect(self) -> None:
        """Open the socket and, for https, TLS. Raises OSError when no address can be reached in time."""
        self.sock = self._wire = self._dial()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._secure:
            # The handshake comes after the socket is in place, where ``abort`` finds it.
            wrapped = trust().wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = self._wire = wrapped
            wrapped.do_handshake()

    def _dial(self) -> socket.socket:
        fault: OSError = TimeoutError("no time left")
        for address in self._found[:CONNECTIONS_TRIED]:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no time left")
            wire = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                wire.settimeout(left)
                wire.connect(address.sockaddr)
            except OSError as error:
                wire.close()
                fault = error
            else:
                return wire
        raise fault

    def abort(self) -> None:
        """End what is being waited for, from another thread: a receiver that sends a byte now and then never would."""
        self.aborted = True
        if self._wire is not None:
            with suppress(OSError):  # closed meanwhile
                # Not SSLSocket's own, which takes the TLS state from under the thread that reads.
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def trust() -> ssl.SSLContext:
    """Return who is trusted: Mozilla's authorities, or what SSL_CERT_FILE or SSL_CERT_DIR name instead."""
    own = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
    return ssl.create_default_context(cafile=None if own else certifi.where())


def post(url: str, *, body: bytes, headers: Mapping[str, str], seconds: float = TOTAL_SECONDS) -> Outcome:
    """Send one POST, all of it within ``seconds``; whatever the receiver does comes back as an outcome."""
    begun = time.monotonic()
    try:
        place = addresses.read(url)
        found = addresses.look_up(place, seconds=min(addresses.LOOKUP_SECONDS, seconds))
    except Refused as refusal:
        return _outcome(begun, error=refusal.message)
    connection = Connection(place, found, begun + seconds)
    watchdog = threading.Timer(begun + seconds - time.monotonic(), connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request("POST", place.path, body=body, headers={**headers, "connection": "close"})
        with connection.getresponse() as response:
            if connection.aborted:  # http.client takes what ends amid its headers for whole
                raise TimeoutError("no time left")
            answer = _read(response)
        return _outcome(begun, status_code=response.status, error=_said(response.status), answer=answer)
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = connection.aborted or isinstance(error, TimeoutError)
        return _outcome(begun, error=f"No answer within {seconds:.0f} s." if late else _words(error))
    finally:
        watchdog.cancel()
        connection.close()


def _read(response: http.client.HTTPResponse) -> str:
    """Return the beginning of the answer, for people to read. The status has been said before, so it alone counts."""
    try:
        data = response.read(ANSWER_BYTES_READ)
    except http.client.IncompleteRead as error:
        data = error.partial
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    # A database takes no NUL in a text.
    return data.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:ANSWER_CHARACTERS_KEPT]


def _said(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"The receiver answered {status}. Redirects are not followed: enter the address that it leads to."
    if status == GONE:
        return "The receiver answered 410: it wants nothing more."
    return f"The receiver answered {status}."


def _words(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"The receiver's certificate was not accepted: {error.verify_message}."
        case ssl.SSLError():
            return "No encrypted connection could be agreed on with the receiver."
        case ConnectionRefusedError():
            return "Nobody listens at the receiver's address."
        case http.client.RemoteDisconnected() | ConnectionError():
            return "The receiver closed the connection without an answer."
        case OSError():
            return (
                f"The receiver could not be reached ({os.strerror(error.errno) if error.errno else 'no reason given'})."
            )
        case _:
            return "The receiver's answer was no HTTP."


def _outcome(begun: float, *, status_code: int | None = None, error: str = "", answer: str = "") -> Outcome:
    return Outcome(status_code, error[:300], answer, round((time.monotonic() - begun) * 1000))
