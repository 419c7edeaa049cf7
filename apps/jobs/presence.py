"""Which queues have a living worker: each worker says so every second, under a key that Redis forgets by itself.

Redis' clock alone counts, so machines whose clocks differ agree; a worker killed outright is missed within seconds,
where RQ's own register keeps it for two minutes.
"""

from __future__ import annotations

from collections.abc import Iterable

from redis import Redis
from redis.client import Pipeline

ALIVE_SECONDS = 4
_PREFIX = "voicecloud:worker:"


def say(wire: Redis | Pipeline, queues: Iterable[str], name: str) -> None:
    """Say that the worker `name` of `queues` is alive."""
    for queue in queues:
        wire.set(f"{_PREFIX}{queue}:{name}", 1, ex=ALIVE_SECONDS)


def leave(wire: Redis, queues: Iterable[str], name: str) -> None:
    """Say that the worker stops."""
    for queue in queues:
        wire.delete(f"{_PREFIX}{queue}:{name}")


def workers(wire: Redis) -> dict[str, int]:
    """Return how many living workers each queue has; queues without one are not in it."""
    found: dict[str, int] = {}
    for key in wire.scan_iter(match=f"{_PREFIX}*", count=1000):
        queue = key.decode().removeprefix(_PREFIX).split(":", 1)[0]
        found[queue] = found.get(queue, 0) + 1
    return found
