"""Requests and their answers: time limits, tries again, errors of the API's one shape."""

from __future__ import annotations

import email.utils
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar

import httpx

from voicecloud_client.decoding import decode
from voicecloud_client.errors import (
    TYPES,
    ApiError,
    ConnectionFailed,
    Fault,
    ServerError,
    Unavailable,
    UnexpectedAnswer,
    VoicecloudError,
)
from voicecloud_client.version import __version__

Kind = TypeVar("Kind")
Progress = Callable[[int, int], None]
"""Is told how many bytes have gone, and of how many."""
API = "/api/v1"
PAGE = 100
_CONNECT_SECONDS = 10.0
_LONGEST_PAUSE = 60.0  # a server that wants us to wait for longer is an answer, not a pause
_FIRST_PAUSE = 0.5
_AGAIN = {429, 502, 503, 504}
_KEY = re.compile(r"[\x21-\x7e]+")


class Watched:
    """A file that tells how much of it has been read."""

    def __init__(self, file: IO[bytes], progress: Progress) -> None:
        self.file, self.progress = file, progress
        self.size = os.fstat(file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        """Read on, and tell."""
        block = self.file.read(size)
        self.progress(self.file.tell(), self.size)
        return block

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place of the file."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the place in the file."""
        return self.file.tell()

    def fileno(self) -> int:
        """Return the number of the file, by which its size is known."""
        return self.file.fileno()


class Transport:
    """The connection to one site with one key.

    Each request has time limits. What failed on the way (a lost connection, 429, 502, 503, 504, a repetition that is
    being carried out) is tried ``retries`` times more, after the time that the server names or a growing one; each POST
    carries an ``Idempotency-Key``, so that none is carried out twice.
    """

    def __init__(
        self, url: str, key: str, *, timeout: float, retries: int, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url, self.retries = url.rstrip("/"), retries
        self.timeout = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
        key = key.strip()
        if not _KEY.fullmatch(key):
            raise VoicecloudError("The API key is empty, or has characters that no key has; copy it again.")
        headers = {"Authorization": f"Bearer {key}", "User-Agent": f"voicecloud-client/{__version__}"}
        try:
            self.http = httpx.Client(
                base_url=self.url + API, headers=headers, timeout=self.timeout, transport=transport
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise ConnectionFailed(f"“{url}” is no web address.") from error

    def json(self, kind: type[Kind], method: str, path: str, **what: Any) -> Kind:
        """Send a request (as ``send``) and return its answer as ``kind``."""
        return decode(kind, _json_of(self.send(method, path, **what)))

    def items(self, kind: type[Kind], path: str, query: Mapping[str, Any] | None = None) -> Iterator[Kind]:
        """Yield all of a list, which is fetched page by page as it is needed."""
        cursor: str | None = ""
        while cursor is not None:
            wanted = {**(query or {}), "limit": PAGE, **({"cursor": cursor} if cursor else {})}
            page = _json_of(self.send("GET", path, query=wanted))
            if not isinstance(page, dict) or not {"items", "next"} <= page.keys():
                raise UnexpectedAnswer("The server answered no page of a list.")
            yield from decode(list[kind], page["items"])  # type: ignore[valid-type]  # known when it runs
            cursor = page["next"]

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        form: Mapping[str, Any] | None = None,
        files: Mapping[str, Path] | None = None,
        content: bytes | None = None,
        progress: Progress | None = None,
    ) -> httpx.Response:
        """Send JSON (``body``), a form with files or bytes (``content``); return the answer, which is no error.

        Raises ApiError for a no, ConnectionFailed when nothing came back, OSError for a file that cannot be read.
        """
        headers = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        if content is not None:
            headers["Content-Type"] = "application/octet-stream"

        def once() -> httpx.Response:
            if form is None and files is None:
                return self.http.request(method, path, params=query, json=body, content=content, headers=headers)
            with opened(files or {}, progress) as parts:
                texts = [(name, (None, _text(value))) for name, value in (form or {}).items()]
                return self.http.request(method, path, files=[*texts, *parts], headers=headers)

        return self._tried(once, method)

    def _tried(self, once: Callable[[], httpx.Response], method: str) -> httpx.Response:
        lost = False
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            try:
                response = once()
            except httpx.TransportError as error:
                if last or isinstance(error, (httpx.UnsupportedProtocol, httpx.LocalProtocolError)):
                    raise unreachable(self.url, error) from error
                lost = True
                time.sleep(pause(attempt))
                continue
            if response.is_success:
                return response
            if method == "DELETE" and response.status_code == 404 and lost:
                return response  # the request whose answer was lost has done it
            no = error_of(response)
            wait = wait_of(no, attempt)
            if last or wait is None:
                raise no
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")


def wait_of(error: ApiError, attempt: int) -> float | None:
    """Return after how many seconds a request may be tried again; None when that is useless or takes too long."""
    repeated = error.status == 409 and error.retry_after is not None
    if error.status not in _AGAIN and not repeated:
        return None
    wait = pause(attempt) if error.retry_after is None else error.retry_after
    return wait if wait <= _LONGEST_PAUSE else None


def pause(attempt: int) -> float:
    """Return how many seconds to wait after an attempt: longer each time, and not as long as everybody else."""
    longest: float = min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


def unreachable(url: str, error: httpx.TransportError) -> ConnectionFailed:
    """Return the error for a request of which nothing came back."""
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(f"{url} did not answer in time.")
    if isinstance(error, httpx.LocalProtocolError):
        # Its text quotes the header that it is about, which may hold the key.
        return ConnectionFailed(f"{url} was asked nothing: the request cannot be written as HTTP.")
    return ConnectionFailed(f"{url} cannot be reached: {str(error) or type(error).__name__}")


def error_of(response: httpx.Response) -> ApiError:
    """Return the error that an answer (which has been read) is; also of what stands before the API."""
    retry_after = _seconds(response.headers.get("Retry-After"))
    try:
        fault = decode(Fault, response.json()["error"])
        kind = TYPES.get(fault.type, ApiError)
    except (ValueError, KeyError, TypeError, UnexpectedAnswer):
        kind = Unavailable if response.status_code in _AGAIN else ServerError if response.is_server_error else ApiError
        sentence = f"{response.url.host} answered {response.status_code}, not as the API does. Is the address right?"
        fault = Fault("unknown", "unknown", sentence, None, response.headers.get("X-Request-ID", ""))
    return kind(fault, status=response.status_code, retry_after=retry_after)


def _seconds(value: str | None) -> float | None:
    """Return what ``Retry-After`` says, which is a number or a date."""
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _json_of(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise UnexpectedAnswer(f"{response.url.host} answered no JSON. Is the address right?") from error


@contextmanager
def opened(files: Mapping[str, Path], progress: Progress | None) -> Iterator[list[tuple[str, Any]]]:
    """Open files for a form; they are read while they are sent."""
    with ExitStack() as stack:
        parts: list[tuple[str, Any]] = []
        for name, path in files.items():
            handle = stack.enter_context(path.open("rb"))
            parts.append((name, (path.name, Watched(handle, progress) if progress else handle)))
        yield parts


def _text(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(value).encode()
