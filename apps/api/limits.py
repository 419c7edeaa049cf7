"""How often programs may ask: a limit for the key, one for its workspace, and lower ones for dearer routes.

Each is a leaky bucket (GCRA) in Redis: as many requests as it holds may come at once, and it empties evenly over a
minute. One script asks and counts in all buckets of a request together, by the clock of Redis, so web processes on any
number of machines agree. A refused request counts in none of them. When Redis is away nothing is limited, and that is
logged once a minute: better a site without limits than no site.

Answers carry the headers of draft-ietf-httpapi-ratelimit-headers-06, about the bucket with the least room left.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

from apps.accounts.keys import Caller
from apps.errors import Refused
from apps.jobs import counters

log = logging.getLogger(__name__)
WINDOW_SECONDS = 60
PREFIX = "voicecloud:rate:"
_LIMIT_SECONDS = 1.0
_QUIET_SECONDS = 60.0
_complained_at = float("-inf")


class Route(Enum):
    """How much a request to a route costs us."""

    CHEAP = "cheap"  # reads
    NORMAL = "normal"  # changes something
    DEAR = "dear"  # starts work, or brings files


@dataclass(frozen=True)
class Bucket:
    """One limit: ``size`` requests in ``seconds``, counted under ``key`` in Redis. ``name`` is for people."""

    name: str
    key: str
    size: int
    seconds: int = WINDOW_SECONDS


@dataclass(frozen=True)
class Level:
    """How full a bucket is: requests left now, seconds until it is empty, seconds until it has room for one more."""

    bucket: Bucket
    remaining: int
    reset: int
    wait: int


@dataclass(frozen=True)
class Verdict:
    """Whether a request may be answered, and all buckets that it was counted in; none where nothing is limited."""

    levels: tuple[Level, ...] = ()

    @property
    def refusing(self) -> Level | None:
        """The bucket without room that takes longest to have some; None when the request may be answered."""
        return max((level for level in self.levels if level.wait), key=lambda level: level.wait, default=None)

    @property
    def allowed(self) -> bool:
        """Say whether the request may be answered."""
        return self.refusing is None

    @property
    def headers(self) -> dict[str, str]:
        """What tells a program how much it may ask, about the bucket that stops it first."""
        if not self.levels:
            return {}
        nearest = self.refusing or min(self.levels, key=lambda level: (level.remaining, -level.reset))
        policies = (f'{one.bucket.size};w={one.bucket.seconds};name="{one.bucket.name}"' for one in self.levels)
        told = {
            "RateLimit-Limit": str(nearest.bucket.size),
            "RateLimit-Remaining": str(nearest.remaining),
            "RateLimit-Reset": str(nearest.reset),
            "RateLimit-Policy": ", ".join(policies),
        }
        return told | ({"Retry-After": str(nearest.wait)} if nearest.wait else {})


def check(caller: Caller, route: Route) -> Verdict:
    """Count a request of ``caller`` and say whether it may be answered."""
    return ask(buckets(caller, route))


def enforce(caller: Caller, route: Route) -> Verdict:
    """Count a request; return what its answer's headers say. Raises Refused (429, with ``Retry-After``)."""
    verdict = check(caller, route)
    level = verdict.refusing
    if level is not None:
        counters.count("api_limited")
        sentence = f"These were more than {level.bucket.size} requests a minute of one {level.bucket.name}."
        raise Refused(f"{sentence} Go on in {level.wait} s.", status=429, headers=verdict.headers)
    return verdict


def buckets(caller: Caller, route: Route) -> list[Bucket]:
    """Return the limits that a request is under; a size of 0 in the settings is no limit."""
    workspace = caller.workspace.pk
    found = [
        Bucket("key", f"{PREFIX}key:{caller.key.pk}", settings.API_RATE_PER_KEY),
        Bucket("workspace", f"{PREFIX}workspace:{workspace}", settings.API_RATE_PER_WORKSPACE),
    ]
    if route is not Route.CHEAP:
        size = settings.API_RATE_DEAR if route is Route.DEAR else settings.API_RATE_NORMAL
        found.append(Bucket(f"workspace to {route.value} routes", f"{PREFIX}{route.value}:{workspace}", size))
    return [bucket for bucket in found if bucket.size > 0]


# A bucket is the moment at which it will be empty, in microseconds. A request moves it on by an interval, and has room
# when it then lies no more than `size` intervals ahead. ARGV: a clock ("" for Redis' own), how many requests to count
# (0 only looks), whether to count even without room; then size and interval of each key.
_SCRIPT = """
local now = tonumber(ARGV[1])
if not now then
  local clock = redis.call('TIME')
  now = clock[1] * 1000000 + clock[2]
end
local count, always = tonumber(ARGV[2]), ARGV[3] == '1'
local room, empty_at = true, {}
for index, key in ipairs(KEYS) do
  local size, interval = tonumber(ARGV[2 + 2 * index]), tonumber(ARGV[3 + 2 * index])
  -- Never further ahead than full: a clock that was set back, or a lower limit, locks nobody out for longer.
  empty_at[index] = math.min(math.max(tonumber(redis.call('GET', key) or 0), now), now + size * interval)
  if empty_at[index] + interval - now > size * interval then room = false end
end
local found = {}
for index, key in ipairs(KEYS) do
  local size, interval = tonumber(ARGV[2 + 2 * index]), tonumber(ARGV[3 + 2 * index])
  local wait = math.max(0, empty_at[index] + interval - now - size * interval)
  if count > 0 and (room or always) then
    empty_at[index] = math.min(empty_at[index] + count * interval, now + size * interval)
    local lives = math.ceil((empty_at[index] - now) / 1000)
    redis.call('SET', key, string.format('%.0f', empty_at[index]), 'PX', lives)
  end
  found[3 * index - 2] = math.floor((now + size * interval - empty_at[index]) / interval)
  found[3 * index - 1] = empty_at[index] - now
  found[3 * index] = wait
end
return found
"""


@lru_cache(maxsize=4)
def wire(url: str) -> Redis:
    """Return the connections to a Redis that answers soon or not at all."""
    return Redis.from_url(url, socket_timeout=_LIMIT_SECONDS, socket_connect_timeout=_LIMIT_SECONDS)


@lru_cache(maxsize=4)
def _script(url: str) -> Callable[..., Any]:
    return wire(url).register_script(_SCRIPT)


def ask(limits: list[Bucket], *, count: int = 1, always: bool = False, clock: int | None = None) -> Verdict:
    """Count requests in all buckets together when each has room, or ``always``; a ``count`` of 0 only looks.

    ``clock`` is a moment in microseconds, else Redis' own clock tells. Without Redis everything is allowed.
    """
    if not limits:
        return Verdict()
    told: list[Any] = ["" if clock is None else clock, count, int(always)]
    for bucket in limits:
        told += [bucket.size, math.ceil(bucket.seconds * 1_000_000 / bucket.size)]
    try:
        found = _script(settings.REDIS_URL)(keys=[bucket.key for bucket in limits], args=told)
    except (RedisError, OSError):
        complain()
        return Verdict()
    rows = zip(limits, found[0::3], found[1::3], found[2::3], strict=True)
    return Verdict(tuple(Level(one, left, _seconds(reset), _seconds(wait)) for one, left, reset, wait in rows))


def complain() -> None:
    """Log that nothing is limited now, at most once a minute; called where the fault was caught."""
    global _complained_at
    if time.monotonic() - _complained_at > _QUIET_SECONDS:
        _complained_at = time.monotonic()
        log.warning("requests are not limited: Redis is away", exc_info=True)


def _seconds(microseconds: int) -> int:
    return math.ceil(microseconds / 1_000_000)
