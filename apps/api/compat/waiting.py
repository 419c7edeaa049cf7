"""Waits for jobs: a request of the compatible APIs ends with its sound, not with the promise of one.

While it waits it holds no database connection, and looks at the row when the job is said to have changed, or every few
seconds where that message was lost. It does hold a thread of the web process, which the middleware waits in, so a
workspace has only so many seats to wait in.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection, transaction
from redis.exceptions import RedisError

from apps.accounts.models import User, Workspace
from apps.api import limits
from apps.api.compat.answers import No
from apps.jobs.events import group_of
from apps.jobs.models import UNFINISHED, Job
from apps.voices.models import Voice
from apps.voices.services import training

LOOK_EVERY_SECONDS = 2.0
# Their SDKs give up after 240 s.
CALL_SECONDS = 220.0
WAITS_MAX = 20  # of one workspace at once
FULL = f"{WAITS_MAX} requests of this workspace wait for their jobs already; ask again when one has ended."
# Who dies gives a seat back without help: no request waits for so long.
_FORGOTTEN_AFTER = 2 * CALL_SECONDS


class Patience:
    """How long a request may still wait."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; 0 when it is over."""
        return max(0.0, self._until - time.monotonic())


@asynccontextmanager
async def seat_in(workspace: Workspace) -> AsyncIterator[None]:
    """Hold one of the seats in which requests of a workspace wait. Raises No (429) when there is none.

    Without Redis nothing is counted, as with the other limits.
    """
    name, code = f"voicecloud:waits:{workspace.pk}", uuid.uuid4().hex
    try:
        if await sync_to_async(_sit_down)(name, code) > WAITS_MAX:
            raise No(FULL, status=429, headers={"Retry-After": "5"})
        yield
    finally:
        await sync_to_async(_stand_up)(name, code)


def _sit_down(name: str, code: str) -> int:
    """Take a seat and return how many are taken, this one too; 0 without Redis."""
    now = time.time()
    try:
        with limits.wire(settings.REDIS_URL).pipeline() as pipe:
            pipe.zremrangebyscore(name, 0, now - _FORGOTTEN_AFTER)
            pipe.zadd(name, {code: now})
            pipe.zcard(name)
            pipe.expire(name, int(_FORGOTTEN_AFTER))
            taken: int = pipe.execute()[2]
    except (RedisError, OSError):
        limits.complain()
        return 0
    return taken


def _stand_up(name: str, code: str) -> None:
    try:
        limits.wire(settings.REDIS_URL).zrem(name, code)
    except (RedisError, OSError):
        limits.complain()  # the seat is free again by itself in some minutes


async def until_ended(job: Job, patience: Patience) -> Job | None:
    """Return the job's row once it has ended, or None when it has not within the caller's patience.

    Raises No (404) when the row is gone: somebody deleted what was being made.
    """
    async with _news_of(job) as news:
        while True:
            row = await sync_to_async(_look)(job.pk)
            if row.is_finished:
                return row
            if not patience.left:
                return None
            await news(min(patience.left, LOOK_EVERY_SECONDS))


def _look(pk: int) -> Job:
    row = Job.objects.filter(pk=pk).first()
    if not connection.in_atomic_block:
        connection.close()  # others need it more than a request that waits
    if row is None:
        raise No("What was being made was deleted meanwhile.", status=404)
    return row


@asynccontextmanager
async def _news_of(job: Job) -> AsyncIterator[Callable[[float], Awaitable[None]]]:
    """Give a function: seconds -> returns when the job is said to have changed, at the latest then."""
    layer, group, changed = get_channel_layer(), group_of(job.workspace_id), asyncio.Event()
    try:
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
    except (RedisError, OSError):
        yield asyncio.sleep
        return

    async def listen() -> None:
        # One task for the whole wait: a channel is gone once somebody who listens to it is cancelled.
        while True:
            if (await layer.receive(channel)).get("job") == job.pk:
                changed.set()

    async def news(seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()
        changed.clear()

    listening = asyncio.create_task(listen())
    try:
        yield news
    finally:
        listening.cancel()
        with suppress(RedisError, OSError):
            await layer.group_discard(group, channel)
        await asyncio.wait([listening])


async def until_ready(voice: Voice, user: User, patience: Patience) -> bool:
    """Say whether the voice has a model to convert with within the caller's patience; it gets an instant one if none.

    Raises Refused: 403 without a consent in force, 409 with too little to make a voice of, or when it failed.
    """
    while (job := await sync_to_async(_next_step)(voice, user)) is not None:
        if await until_ended(job, patience) is None:
            return False
    return True


def _next_step(voice: Voice, user: User) -> Job | None:
    """Return the job to wait for before the voice can be used, submitting it when that is what is missing."""
    with transaction.atomic():
        # Locked, so that two requests at once make one model.
        rows = Voice.objects.select_for_update(no_key=True, of=("self",)).filter(pk=voice.pk)
        locked = rows.select_related("workspace").first()
        if locked is None:
            raise No("The voice was deleted meanwhile.", status=404, word="voice_not_found")
        if locked.active_model is not None:
            return None
        newest = locked.models.select_related("job").first()
        if newest is not None and newest.job.status in UNFINISHED:
            return newest.job
        if newest is not None:
            why = "has no active model; activate one" if newest.file else f"has no model: {newest.job.message}"
            raise No(f"“{locked.name}” {why}", status=400, word="voice_not_ready")
        listening = Job.objects.filter(recording__voice=locked, status__in=UNFINISHED).first()
        return listening or training.make_instant(voice=locked, user=user).job
