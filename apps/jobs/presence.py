"""Which workers live, and what each says of itself: every second, under a key that Redis forgets by itself.

Redis' clock alone counts, so machines whose clocks differ agree; a worker killed outright is missed within seconds,
where RQ's own register keeps it for two minutes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from redis import Redis
from redis.client import Pipeline

ALIVE_SECONDS = 4
_PREFIX = "voicecloud:worker:"


@dataclass(frozen=True)
class Living:
    """A worker that lives: its queue, its name, and what it said of itself last (see ``apps.jobs.vitals``)."""

    queue: str
    name: str
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """The machine that it runs on."""
        return str(self.said.get("host", ""))

    @property
    def gpu(self) -> dict[str, Any]:
        """What it said of its machine's GPUs: ``state`` (none, ok or lost), ``reason`` and ``devices``."""
        return {"state": "none", "reason": "", "devices": [], **(self.said.get("gpu") or {})}


def say(wire: Redis | Pipeline, queues: Iterable[str], name: str, said: dict[str, Any] | None = None) -> None:
    """Say that the worker `name` of `queues` is alive, and what else there is to say (JSON values)."""
    text = json.dumps(said or {})
    for queue in queues:
        wire.set(f"{_PREFIX}{queue}:{name}", text, ex=ALIVE_SECONDS)


def leave(wire: Redis, queues: Iterable[str], name: str) -> None:
    """Say that the worker stops."""
    for queue in queues:
        wire.delete(f"{_PREFIX}{queue}:{name}")


def workers(wire: Redis) -> dict[str, int]:
    """Return how many living workers each queue has; queues without one are not in it."""
    found: dict[str, int] = {}
    for queue, _ in map(_parts, wire.scan_iter(match=f"{_PREFIX}*", count=1000)):
        found[queue] = found.get(queue, 0) + 1
    return found


def living(wire: Redis) -> list[Living]:
    """Return the workers that live, by queue and name."""
    keys = sorted(set(wire.scan_iter(match=f"{_PREFIX}*", count=1000)))
    texts = wire.mget(keys) if keys else []
    # One may have gone between the two questions; and a worker of an earlier version says a bare 1.
    told = [(_parts(key), json.loads(text)) for key, text in zip(keys, texts, strict=True) if text is not None]
    return [Living(*parts, said if isinstance(said, dict) else {}) for parts, said in told]


def _parts(key: bytes) -> tuple[str, str]:
    queue, _, name = key.decode().removeprefix(_PREFIX).partition(":")
    return queue, name
