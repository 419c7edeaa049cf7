"""What a page hears over its socket, and who hears nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from apps.accounts.models import Membership
from apps.jobs import services
from apps.jobs.consumers import GONE
from apps.jobs.models import Job, Status
from tests.jobs.wire import Wire

Make = Callable[..., Job]
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def wire(client_of: Any) -> Callable[..., Wire]:
    """Return a function: user -> a socket of theirs, not connected yet."""
    from voicecloud.asgi import application

    def make(user: Any, slug: str = "acme", origin: str = "http://127.0.0.1:8000") -> Wire:
        headers = [(b"origin", origin.encode()), (b"host", b"127.0.0.1:8000")]
        if user is not None:
            session = client_of(user).cookies[settings.SESSION_COOKIE_NAME].value
            headers.append((b"cookie", f"{settings.SESSION_COOKIE_NAME}={session}".encode()))
        return Wire(application, f"/ws/w/{slug}/jobs/", headers)

    return make


async def opened(socket: Wire) -> Wire:
    assert await socket.connect() is None
    return socket


async def test_a_member_hears_first_how_things_stand_and_then_each_change(queued: Make, wire: Any, victor: Any) -> None:
    job = await sync_to_async(queued)()
    socket = await opened(await sync_to_async(wire)(victor))
    assert f'id="job-{job.code}" hx-swap-oob="true"' in await socket.text()
    await sync_to_async(services.claim)(job.pk, worker="w")
    assert 'data-status="running"' in await socket.text()
    await sync_to_async(services.end)(job.pk, status=Status.DONE)
    last = await socket.text()
    assert 'data-status="done"' in last
    assert "data-finished" in last
    await socket.disconnect()


async def test_only_who_may_cancel_is_shown_the_button(queued: Make, wire: Any, victor: Any, bob: Any) -> None:
    job = await sync_to_async(queued)()
    texts = []
    for user in (victor, bob):
        socket = await opened(await sync_to_async(wire)(user))
        texts.append(await socket.text())
        await socket.disconnect()
    assert [f"/w/acme/jobs/{job.code}/cancel/" in text for text in texts] == [False, True]


async def test_a_stranger_and_nobody_are_not_let_in(queued: Make, wire: Any, charlie: Any) -> None:
    await sync_to_async(queued)()
    for user in (charlie, None):
        assert await (await sync_to_async(wire)(user)).connect() == GONE


async def test_a_page_of_another_site_is_not_let_in(queued: Make, wire: Any, victor: Any) -> None:
    await sync_to_async(queued)()
    socket = await sync_to_async(wire)(victor, origin="https://evil.example")
    assert await socket.connect() is not None


async def test_nothing_of_another_workspace_is_heard(queued: Make, wire: Any, charlie: Any, charlies: Any) -> None:
    job = await sync_to_async(queued)()
    socket = await opened(await sync_to_async(wire)(charlie, charlies.slug))
    await sync_to_async(services.claim)(job.pk, worker="w")
    assert await socket.receive_nothing(0.5)
    await socket.disconnect()


async def test_who_has_left_the_workspace_hears_nothing_more(queued: Make, wire: Any, victor: Any) -> None:
    job = await sync_to_async(queued)()
    socket = await opened(await sync_to_async(wire)(victor))
    await socket.text()
    await Membership.objects.filter(user=victor).adelete()
    await sync_to_async(services.claim)(job.pk, worker="w")
    closing = await socket.receive_output(5)
    assert (closing["type"], closing["code"]) == ("websocket.close", GONE)


async def test_a_page_that_comes_back_is_told_what_it_missed(queued: Make, wire: Any, victor: Any) -> None:
    job = await sync_to_async(queued)()
    await sync_to_async(services.claim)(job.pk, worker="w")
    await sync_to_async(services.end)(job.pk, status=Status.DONE)
    socket = await opened(await sync_to_async(wire)(victor))
    assert 'data-status="done"' in await socket.text()
    await socket.disconnect()
