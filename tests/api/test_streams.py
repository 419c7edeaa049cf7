"""Streams of events over the real channel layer: nothing is lost or left behind, and a closed key hears no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer

from apps.accounts import keys
from apps.api import streams
from apps.jobs.events import group_of
from apps.jobs.models import Job
from tests.api.conftest import Program, error_of, key_of

BEAT = b": still here\n\n"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams with five heartbeats a second."""
    monkeypatch.setattr(streams, "HEARTBEAT_SECONDS", 0.2)


@pytest.fixture
def token(transactional_db: None, acme: Any, alice: Any) -> str:
    """A key of Alice's."""
    return key_of(alice, acme, "read")


@pytest.fixture
def job(transactional_db: None, acme: Any) -> Job:
    """A job that no worker takes."""
    return Job.objects.create(workspace=acme, kind="slicing", title="Listening", task="nothing", queue="nobody")


@asynccontextmanager
async def opened(token: str, job: Job | None) -> AsyncIterator[AsyncIterator[bytes]]:
    """Open a stream; it is closed as a client's going away closes it, wherever it stands."""
    caller = await sync_to_async(keys.caller_of)(token)
    assert caller is not None
    answer = await sync_to_async(streams.stream)(caller, job, token=token)
    events: Any = answer._iterator  # type: ignore[attr-defined]
    try:
        yield events
    finally:
        await events.aclose()


def left() -> tuple[int, int]:
    """Return how many channels and groups the channel layer of this loop still has."""
    layer: Any = get_channel_layer()._get_layer()
    return len(layer.channels), len(layer.groups)


async def move(job: Job, *, told: bool, **changes: Any) -> None:
    await Job.objects.filter(pk=job.pk).aupdate(**changes)
    if told:
        message = {"type": "job.changed", "job": job.pk}
        await get_channel_layer().group_send(group_of(job.workspace_id), message)


async def within(seconds: float, events: AsyncIterator[bytes], *, but: bytes = BEAT) -> bytes:
    """Return the next event that is no heartbeat."""
    async with asyncio.timeout(seconds):
        while (event := await anext(events)) == but:
            pass
    return event


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("told", [True, False], ids=["told", "message lost"])
async def test_what_changes_around_a_heartbeat_is_told(token: str, job: Job, told: bool) -> None:
    async with opened(token, None) as events:
        assert b"job.queued" in await anext(events)
        assert await anext(events) == BEAT
        assert left() == (1, 1), "it still listens"
        await move(job, told=told, progress=0.5)
        assert b'"progress":0.5' in await within(5, events)
        await move(job, told=told, status="cancelled", ended_at=job.created_at)
        assert b"job.cancelled" in await within(5, events)


@pytest.mark.usefixtures("quick")
async def test_what_has_not_changed_is_not_told_again(token: str, job: Job) -> None:
    async with opened(token, None) as events:
        await anext(events)
        assert [await anext(events) for _ in range(3)] == [BEAT] * 3


@pytest.mark.usefixtures("quick")
async def test_no_subscription_is_left(token: str, job: Job) -> None:
    async with opened(token, job) as events:
        await anext(events)
    assert left() == (0, 0), "closed by the client"
    async with opened(token, job) as events:
        await anext(events)
        await move(job, told=True, status="cancelled", ended_at=job.created_at)
        assert [event async for event in events if event != BEAT][-1].startswith(b"event: job.cancelled")
    assert left() == (0, 0), "the job has ended"


@pytest.mark.usefixtures("quick")
async def test_a_revoked_key_hears_no_more_of_a_busy_workspace(token: str, job: Job) -> None:
    # Not cancelled: what waits for a thread can lose that, and would be busy for ever.
    enough = asyncio.Event()

    async def be_busy() -> None:
        while not enough.is_set():
            await move(job, told=True, stage="busy")
            await asyncio.sleep(0.02)

    busy = asyncio.create_task(be_busy())
    try:
        async with opened(token, None) as events, asyncio.timeout(10):
            await anext(events)
            caller = await sync_to_async(keys.caller_of)(token)
            assert caller is not None
            await sync_to_async(keys.revoke)(key=caller.key, user=None)
            assert [event async for event in events][-1] != b"", "it ends by itself"
    finally:
        enough.set()
        await busy


@pytest.fixture
def without_redis(settings: Any, tmp_path: Any) -> Iterator[None]:
    """A site whose Redis is away."""
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock?db=0"
    yield


@pytest.mark.usefixtures("without_redis")
def test_without_redis_there_are_no_streams(api: Program) -> None:
    answer = api.get("/events")
    assert error_of(answer, 503)["type"] == "unavailable"
    assert answer["Retry-After"] == "10"


def test_a_key_with_too_many_is_told_when_to_come_again(api: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAMS_MAX", 0)
    answer = api.get("/events")
    assert error_of(answer, 429)["type"] == "rate_limited"
    assert answer["Retry-After"] == "10"
