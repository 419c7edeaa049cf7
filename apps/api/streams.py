"""Server-Sent Events about jobs: the channel layer says that a row is new, the row itself is what is sent."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.http import StreamingHttpResponse
from redis import Redis

from apps.accounts import keys
from apps.accounts.keys import Caller
from apps.api.schemas.jobs import Job as Shape
from apps.errors import Refused
from apps.jobs.events import group_of
from apps.jobs.models import UNFINISHED, Job

STREAMS_MAX = 10  # of one key at once
# So long nothing may be sent: proxies cut silent connections, and a client that is gone is noticed by writing to it.
HEARTBEAT_SECONDS = 10.0
LONGEST_SECONDS = 3600.0  # then a client connects anew, and its key is looked at again
_SNAPSHOT = 100
_FORGOTTEN_AFTER = 3 * HEARTBEAT_SECONDS


def stream(caller: Caller, job: Job | None, *, token: str) -> StreamingHttpResponse:
    """Answer with the events of one job until it ends, or with job None of all in the workspace.

    Raises Refused (429) when the key has too many open already.
    """
    seat = _Seat(caller)
    seat.take()
    response = StreamingHttpResponse(_events(caller, job, seat, token), content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


class _Seat:
    """One of the few streams that a key may have. It is kept by renewing it: who dies gives it back without help."""

    def __init__(self, caller: Caller) -> None:
        self.name = f"voicecloud:streams:{caller.key.pk}"
        self.code = uuid.uuid4().hex

    def take(self) -> None:
        """Take a seat. Raises Refused (429) when there is none."""
        now = time.time()
        with _redis() as wire, wire.pipeline() as pipe:
            pipe.zremrangebyscore(self.name, 0, now - _FORGOTTEN_AFTER)
            pipe.zadd(self.name, {self.code: now})
            pipe.zcard(self.name)
            pipe.expire(self.name, int(_FORGOTTEN_AFTER))
            taken = pipe.execute()[2]
        if taken > STREAMS_MAX:
            self.leave()
            raise Refused(f"This key has {STREAMS_MAX} streams of events open. Close one first.", status=429)

    def keep(self) -> None:
        """Say that it is still used."""
        with _redis() as wire, wire.pipeline() as pipe:
            pipe.zadd(self.name, {self.code: time.time()})
            pipe.expire(self.name, int(_FORGOTTEN_AFTER))
            pipe.execute()

    def leave(self) -> None:
        """Give it back."""
        with _redis() as wire:
            wire.zrem(self.name, self.code)


def _redis() -> Redis:
    return Redis.from_url(settings.REDIS_URL, socket_timeout=5)


async def _events(caller: Caller, job: Job | None, seat: _Seat, token: str) -> AsyncIterator[bytes]:
    layer = get_channel_layer()
    channel = await layer.new_channel()
    group = group_of(caller.workspace.pk)
    until = time.monotonic() + LONGEST_SECONDS
    try:
        # Joined first and read then, so that nothing falls between.
        await layer.group_add(group, channel)
        ended = False
        for row in await _snapshot(caller, job):
            yield _event(row)
            ended = job is not None and row.is_finished
        while not ended and time.monotonic() < until:
            try:
                message = await asyncio.wait_for(layer.receive(channel), HEARTBEAT_SECONDS)
            except TimeoutError:
                await sync_to_async(seat.keep)()
                if await _caller_of(token) is None:
                    return
                yield b": still here\n\n"
                changed = None if job is None else job.pk  # a message may have been lost
            else:
                changed = message["job"]
            if changed is not None and (job is None or changed == job.pk):
                row = await _row(caller, changed)
                if row is None:
                    if job is not None:
                        return
                    continue
                yield _event(row)
                ended = job is not None and row.is_finished
    finally:
        await layer.group_discard(group, channel)
        await sync_to_async(seat.leave)()


def _event(job: Job) -> bytes:
    data = json.dumps(dict(Shape.of(job)), cls=DjangoJSONEncoder, separators=(",", ":"))
    return f"event: job.{job.status}\ndata: {data}\n\n".encode()


@database_sync_to_async  # type: ignore[untyped-decorator]
def _snapshot(caller: Caller, job: Job | None) -> list[Job]:
    jobs = caller.workspace.jobs
    return list(jobs.filter(pk=job.pk) if job is not None else jobs.filter(status__in=UNFINISHED)[:_SNAPSHOT])


@database_sync_to_async  # type: ignore[untyped-decorator]
def _row(caller: Caller, pk: int) -> Job | None:
    return caller.workspace.jobs.filter(pk=pk).first()


@database_sync_to_async  # type: ignore[untyped-decorator]
def _caller_of(token: str) -> Caller | None:
    return keys.caller_of(token)
