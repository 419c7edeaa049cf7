"""Server-Sent Events about jobs: the channel layer says that a row is new, the row itself is what is sent."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q
from django.http import StreamingHttpResponse
from django.utils import timezone
from redis.exceptions import RedisError

from apps.accounts import keys
from apps.accounts.keys import Caller
from apps.api import limits
from apps.api.schemas.jobs import Job as Shape
from apps.errors import Refused
from apps.jobs.events import group_of
from apps.jobs.models import UNFINISHED, Job

log = logging.getLogger(__name__)
STREAMS_MAX = 10  # of one key at once
# So long nothing may be sent: proxies cut silent connections, and a client that is gone is noticed by writing to it.
HEARTBEAT_SECONDS = 10.0
LONGEST_SECONDS = 3600.0  # then a client connects anew, and its key is looked at again
_ROWS_MAX = 100
_NEWS_MAX = 1000
_FORGOTTEN_AFTER = 3 * HEARTBEAT_SECONDS
_LATER = {"Retry-After": str(int(HEARTBEAT_SECONDS))}
AWAY = "Events cannot be told right now; ask for the job itself, or try again in a minute."


def stream(caller: Caller, job: Job | None, *, token: str) -> StreamingHttpResponse:
    """Answer with the events of one job until it ends, or with job None of all in the workspace.

    Raises Refused: 429 when the key has too many open already, 503 while Redis is away.
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
        """Take a seat. Raises Refused: 429 when there is none, 503 while Redis is away."""
        now = time.time()
        try:
            with limits.wire(settings.REDIS_URL).pipeline() as pipe:
                pipe.zremrangebyscore(self.name, 0, now - _FORGOTTEN_AFTER)
                pipe.zadd(self.name, {self.code: now})
                pipe.zcard(self.name)
                pipe.expire(self.name, int(_FORGOTTEN_AFTER))
                taken = pipe.execute()[2]
        except (RedisError, OSError):
            log.exception("no stream of events can be opened")
            raise Refused(AWAY, status=503, headers=_LATER) from None
        if taken > STREAMS_MAX:
            self.leave()
            message = f"This key has {STREAMS_MAX} streams of events open. Close one first."
            raise Refused(message, status=429, headers=_LATER)

    def keep(self) -> None:
        """Say that it is still used; what cannot be said now is said the next time."""
        try:
            with limits.wire(settings.REDIS_URL).pipeline() as pipe:
                pipe.zadd(self.name, {self.code: time.time()})
                pipe.expire(self.name, int(_FORGOTTEN_AFTER))
                pipe.execute()
        except (RedisError, OSError):
            log.warning("a stream's seat could not be kept", exc_info=True)

    def leave(self) -> None:
        """Give it back; one that cannot be given back is free a little later."""
        try:
            limits.wire(settings.REDIS_URL).zrem(self.name, self.code)
        except (RedisError, OSError):
            log.warning("a stream's seat could not be given back", exc_info=True)


async def _events(caller: Caller, job: Job | None, seat: _Seat, token: str) -> AsyncIterator[bytes]:
    watch = _Watch(caller, job)
    now = time.monotonic()
    until, due = now + LONGEST_SECONDS, now + HEARTBEAT_SECONDS
    try:
        # Heard first and read then, so that nothing falls between.
        async with _news_of(caller.workspace.pk) as news:
            for event in await database_sync_to_async(watch.look)():
                yield event
            while not watch.is_over and (now := time.monotonic()) < until:
                if now < due:
                    changed = await _next(news, due - now)
                    found = [] if changed is None else await database_sync_to_async(watch.hear)(changed)
                else:
                    # By the clock, not when it is silent: in a busy workspace it never is.
                    due = now + HEARTBEAT_SECONDS
                    await sync_to_async(seat.keep)()
                    if await database_sync_to_async(keys.caller_of)(token) is None:
                        return
                    yield b": still here\n\n"
                    found = await database_sync_to_async(watch.look)()
                for event in found:
                    yield event
    finally:
        await sync_to_async(seat.leave)()


@asynccontextmanager
async def _news_of(workspace: int) -> AsyncIterator[asyncio.Queue[int]]:
    """Give a queue of the workspace's jobs, by their keys, that are said to have changed."""
    layer, group = get_channel_layer(), group_of(workspace)
    news: asyncio.Queue[int] = asyncio.Queue(_NEWS_MAX)
    channel = await layer.new_channel()

    async def listen() -> None:
        # One task for the whole stream: a channel is gone once somebody who listens to it is cancelled.
        while True:
            message = await layer.receive(channel)
            if not news.full():  # else the next look at the rows finds it
                news.put_nowait(message["job"])

    listening = asyncio.create_task(listen())
    try:
        await layer.group_add(group, channel)
        yield news
    finally:
        listening.cancel()
        await asyncio.wait([listening])
        with suppress(RedisError, OSError):
            await layer.group_discard(group, channel)


async def _next(news: asyncio.Queue[int], seconds: float) -> int | None:
    """Return the next job that changed, or None when none has within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            return await news.get()
    except TimeoutError:
        return None


class _Watch:
    """The rows of a stream's jobs, and what was told of them. ``is_over``: its one job has ended or is gone."""

    def __init__(self, caller: Caller, job: Job | None) -> None:
        self.is_over = False
        self._jobs = caller.workspace.jobs
        self._only = None if job is None else job.pk
        self._told: dict[int, object] = {}
        self._looked_at = timezone.now()

    def hear(self, pk: int) -> list[bytes]:
        """Return the event of a job that is said to have changed; none when the stream is not about it."""
        if self._only not in (None, pk):
            return []
        return [self._tell(row) for row in self._rows(Q(pk=pk))]

    def look(self) -> list[bytes]:
        """Return the events of all that is new in the rows, whether a message came of it or was lost."""
        since, self._looked_at = self._looked_at, timezone.now()
        if self._only is not None:
            wanted = Q(pk=self._only)
        else:
            wanted = Q(status__in=UNFINISHED) | Q(pk__in=list(self._told)) | Q(ended_at__gte=since)
        rows = self._rows(wanted)
        new = [self._tell(row) for row in rows if self._told.get(row.pk) != _state(row)]
        self._told = {row.pk: _state(row) for row in rows if not row.is_finished}
        return new

    def _rows(self, wanted: Q) -> list[Job]:
        rows = list(self._jobs.filter(wanted)[:_ROWS_MAX])
        if self._only is not None:
            self.is_over = not rows or rows[0].is_finished
        return rows

    def _tell(self, row: Job) -> bytes:
        self._told[row.pk] = _state(row)
        data = json.dumps(dict(Shape.of(row)), cls=DjangoJSONEncoder, separators=(",", ":"))
        return f"event: job.{row.status}\ndata: {data}\n\n".encode()


def _state(row: Job) -> object:
    # Not the seconds that are left: they become fewer by themselves.
    return row.status, row.attempt, row.stage, row.progress, row.message, row.expected_end_at
