"""Server-Sent Events about jobs: read as they come, connected anew when a stream ends before its job."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx

from voicecloud_client.decoding import decode
from voicecloud_client.errors import UnexpectedAnswer
from voicecloud_client.models import Job
from voicecloud_client.transport import Transport, error_of, pause, unreachable, wait_of

ENDED = ("done", "failed", "cancelled")
_SILENCE_SECONDS = 30.0  # the server says something every ten


def events(wire: Transport, path: str, *, one: bool) -> Iterator[Job | None]:
    """Yield jobs as they change, and None when there is nothing new for some seconds.

    Of ``one`` job until it has ended; of all of them for ever. Each event is the job as it stands, so nothing is
    lost by connecting anew. Raises ApiError for a no, ConnectionFailed when ``retries`` connections brought nothing.
    """
    failures = 0
    while True:
        try:
            limits = httpx.Timeout(**{**wire.timeout.as_dict(), "read": _SILENCE_SECONDS})
            with wire.http.stream("GET", path, timeout=limits, headers=_STREAM) as answer:
                if not answer.is_success:
                    answer.read()
                    error = error_of(answer)
                    wait = wait_of(error, failures)
                    if wait is None or failures >= wire.retries:
                        raise error
                else:
                    wait = pause(0)  # the hour of a stream is over, or the server starts anew
                    for job in _jobs(answer):
                        failures = -1
                        yield job
                        if one and job is not None and job.status in ENDED:
                            return
        except httpx.TransportError as error:
            if failures >= wire.retries:
                raise unreachable(wire.url, error) from error
            wait = pause(max(failures, 0))
        failures += 1
        time.sleep(wait)


_STREAM = {"Accept": "text/event-stream"}


def _jobs(answer: httpx.Response) -> Iterator[Job | None]:
    kind = ""
    for line in answer.iter_lines():
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            kind = ""
        elif not name:
            yield None
        elif name == "event":
            kind = value
        elif name == "data" and kind.startswith("job."):
            yield decode(Job, _read(value), "event")


def _read(text: str) -> object:
    try:
        found: object = json.loads(text)
    except ValueError as error:
        raise UnexpectedAnswer("The server sent an event that is no JSON.") from error
    return found
