"""HTTP's way into Django: one thread a request, which stays; streams and hang-ups; static files before all of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.management import call_command
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from voicecloud.handler import Handler
from voicecloud.static import Static

SECONDS = 10.0
threads: list[int] = []
closed: list[str] = []
cancelled: list[str] = []
meeting = threading.Barrier(6)


def recording(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        threads.append(threading.get_ident())
        return get_response(request)

    return middleware


def plain(request: HttpRequest) -> HttpResponse:
    threads.append(threading.get_ident())
    return HttpResponse(request.body or b"plain")


def meet(request: HttpRequest) -> HttpResponse:
    meeting.wait(SECONDS)
    return HttpResponse(b"met")


def broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


async def waits(request: HttpRequest) -> HttpResponse:
    try:
        await asyncio.sleep(SECONDS)
    except asyncio.CancelledError:
        cancelled.append("waits")
        raise
    return HttpResponse(b"never")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    async def blocks() -> AsyncIterator[bytes]:
        yield b"one"
        if "endless" in request.GET:
            await asyncio.sleep(SECONDS)
        yield b"two"

    response = StreamingHttpResponse(blocks())
    response._resource_closers.append(lambda: closed.append("stream"))  # type: ignore[attr-defined]
    return response


urlpatterns = [
    path("plain", plain),
    path("meet", meet),
    path("broken", broken),
    path("waits", waits),
    path("stream", stream),
]


@pytest.fixture
def handler() -> Iterator[Handler]:
    for record in (threads, closed, cancelled):
        record.clear()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.recording"], ALLOWED_HOSTS=["*"]):
        yield Handler()


@pytest.fixture
def ended() -> Iterator[list[Any]]:
    """The requests of which Django was told that they ended."""
    found: list[Any] = []

    def note(**given: Any) -> None:
        found.append(given["sender"])

    request_finished.connect(note)
    yield found
    request_finished.disconnect(note)


def asks(app: Any, address: str) -> Any:
    where, _, query = address.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": where,
        "query_string": query.encode(),
        "headers": [(b"host", b"testserver")],
    }
    return ApplicationCommunicator(app, scope)  # type: ignore[no-untyped-call]


async def answer(app: Any, address: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body. The end is told as soon as the last byte is out, as servers do."""
    wire = asks(app, address)
    await wire.send_input({"type": "http.request", "body": body})
    start = await wire.receive_output(SECONDS)
    found, more = b"", True
    while more:
        part = await wire.receive_output(SECONDS)
        found, more = found + part.get("body", b""), part.get("more_body", False)
    await wire.send_input({"type": "http.disconnect"})
    await wire.wait(SECONDS)
    return start["status"], {name.decode().lower(): value.decode() for name, value in start["headers"]}, found


async def test_a_request_is_in_one_thread_and_the_next_one_finds_it_again(handler: Handler) -> None:
    for body in (b"", b"sent"):
        assert await answer(handler, "/plain", body) == (
            200,
            {"content-type": "text/html; charset=utf-8"},
            body or b"plain",
        )
    assert len(threads) == 4 and len(set(threads)) == 1
    assert threading.get_ident() not in threads


async def test_requests_do_not_wait_for_each_other(handler: Handler) -> None:
    answers = await asyncio.gather(*(answer(handler, "/meet") for _ in range(meeting.parties)))
    assert [found for _, _, found in answers] == [b"met"] * meeting.parties


async def test_those_that_wait_take_no_thread_from_the_others(handler: Handler) -> None:
    with override_settings(REQUEST_THREADS=1):
        narrow = Handler()
    waiting = [asks(narrow, "/waits") for _ in range(3)]
    for wire in waiting:
        await wire.send_input({"type": "http.request"})
    assert [(await answer(narrow, "/plain"))[0] for _ in range(3)] == [200] * 3
    for wire in waiting:
        await wire.send_input({"type": "http.disconnect"})
        await wire.wait(SECONDS)
    assert cancelled == ["waits"] * 3


async def test_each_request_ends_once_whatever_becomes_of_it(handler: Handler, ended: list[Any]) -> None:
    statuses = [(await answer(handler, where))[0] for where in ("/plain", "/broken", "/stream")]
    assert statuses == [200, 500, 200]
    assert ended == [Handler] * 3


async def test_a_stream_is_closed_although_the_end_is_told_with_its_last_byte(handler: Handler) -> None:
    for _ in range(50):
        assert (await answer(handler, "/stream"))[2] == b"onetwo"
    assert closed == ["stream"] * 50


async def test_a_stream_is_closed_when_its_reader_hangs_up(handler: Handler, ended: list[Any]) -> None:
    wire = asks(handler, "/stream?endless")
    await wire.send_input({"type": "http.request"})
    assert (await wire.receive_output(SECONDS))["status"] == 200
    assert (await wire.receive_output(SECONDS))["body"] == b"one"
    await wire.send_input({"type": "http.disconnect"})
    await wire.wait(SECONDS)
    assert closed == ["stream"] and ended == [Handler]


async def test_a_view_that_waits_learns_that_nobody_listens(handler: Handler, ended: list[Any]) -> None:
    wire = asks(handler, "/waits")
    await wire.send_input({"type": "http.request"})
    await asyncio.sleep(0.2)
    assert cancelled == []
    await wire.send_input({"type": "http.disconnect"})
    await wire.wait(SECONDS)
    assert cancelled == ["waits"] and ended == [Handler]
    assert (await answer(handler, "/plain"))[0] == 200


async def test_who_hangs_up_before_the_body_is_there_is_not_answered(handler: Handler, ended: list[Any]) -> None:
    wire = asks(handler, "/plain")
    await wire.send_input({"type": "http.request", "body": b"half", "more_body": True})
    await wire.send_input({"type": "http.disconnect"})
    await wire.wait(SECONDS)
    assert wire.output_queue.empty() and threads == [] and ended == []


async def test_a_server_that_shuts_down_closes_what_it_sends(handler: Handler) -> None:
    wire = asks(handler, "/stream?endless")
    await wire.send_input({"type": "http.request"})
    await wire.receive_output(SECONDS)
    await wire.receive_output(SECONDS)
    wire.stop(exceptions=False)
    with suppress(asyncio.CancelledError):
        await wire.future
    assert closed == ["stream"]


# --- static files


@pytest.fixture
def static(tmp_path: Path) -> Iterator[Static]:
    async def django(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 418, "headers": []})
        await send({"type": "http.response.body", "body": b"django"})

    storages = {"staticfiles": {"BACKEND": "voicecloud.static.Storage"}}
    with override_settings(STATIC_ROOT=tmp_path, STORAGES=storages, DEBUG=False):
        call_command("collectstatic", interactive=False, verbosity=0)
        yield Static(django)


async def test_static_files_are_answered_without_django_under_the_addresses_that_pages_name(static: Static) -> None:
    from django.contrib.staticfiles.storage import staticfiles_storage

    named = staticfiles_storage.url("css/base.css")
    assert named != "/static/css/base.css" and staticfiles_storage.url("css/base.css") == named
    status, headers, found = await answer(static, named)
    assert status == 200 and found == (Path("static/css/base.css")).read_bytes()
    assert headers["content-type"].startswith("text/css")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == headers["referrer-policy"] == "same-origin"
    assert "immutable" in headers["cache-control"]
    for other in ("/static/css/none.css", "/static/../voicecloud/settings.py", "/w/acme/"):
        assert (await answer(static, other))[::2] == (418, b"django")
