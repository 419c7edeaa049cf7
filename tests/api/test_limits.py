"""Limits let through exactly what they say, whatever order requests come in and however many at once."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.conf import settings as site
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis import Redis

from apps.accounts import keys
from apps.accounts.keys import Caller
from apps.api import limits
from apps.api.limits import Bucket, Route
from apps.errors import Refused

SIZES = (3, 5)
SECONDS = 60
START = 1_800_000_000_000_000


class Model:
    """A bucket as one would write it without Redis: it drips steadily, and a request pours one in if it fits."""

    def __init__(self, size: int) -> None:
        self.drop = -(-SECONDS * 1_000_000 // size)
        self.full, self.level, self.at = size * self.drop, 0, START

    def drip(self, now: int) -> None:
        self.level, self.at = max(0, self.level - (now - self.at)), now

    @property
    def fits(self) -> bool:
        return self.level + self.drop <= self.full


steps = st.lists(
    st.tuples(
        st.one_of(st.just(0), st.integers(0, 30_000_000), st.sampled_from([12_000_000, 20_000_000, 61_000_000])),
        st.sampled_from([(0,), (1,), (0, 1)]),
    ),
    min_size=1,
    max_size=25,
)


@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_it_says_what_a_simple_bucket_says(steps: list[tuple[int, tuple[int, ...]]]) -> None:
    wire = Redis.from_url(site.REDIS_URL)
    wire.flushdb()
    models = [Model(size) for size in SIZES]
    now = START
    for pause, which in steps:
        now += pause
        chosen = [models[index] for index in which]
        for model in chosen:
            model.drip(now)
        allowed = all(model.fits for model in chosen)
        for model in chosen:
            model.level += model.drop if allowed else 0
        asked = [Bucket(str(index), f"voicecloud:rate:model:{index}", SIZES[index]) for index in which]
        verdict = limits.ask(asked, clock=now)
        assert verdict.allowed == allowed
        for level, model in zip(verdict.levels, chosen, strict=True):
            assert level.remaining == (model.full - model.level) // model.drop
            assert level.reset == -(-model.level // 1_000_000)
            if not allowed:
                assert level.wait == max(0, -(-(model.level + model.drop - model.full) // 1_000_000))


def test_of_many_at_once_exactly_as_many_pass_as_fit(settings: Any) -> None:
    start = threading.Barrier(50)
    bucket = Bucket("key", "voicecloud:rate:crowd", 17)

    def one(_: int) -> bool:
        start.wait(timeout=10)
        return limits.ask([bucket], clock=START).allowed

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(one, range(50))) == 17


def test_counting_after_looking_would_let_more_pass() -> None:
    """Why it is one script: who looks and counts in two steps counts requests that had no room."""
    start, looked = threading.Barrier(50), threading.Barrier(50)
    bucket = Bucket("key", "voicecloud:rate:naive", 17)

    def one(_: int) -> bool:
        start.wait(timeout=10)
        has_room = limits.ask([bucket], count=0, clock=START).levels[0].remaining > 0
        looked.wait(timeout=10)
        limits.ask([bucket], always=True, clock=START)
        return has_room

    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(one, range(50))) == 50


def test_the_key_its_workspace_and_dear_routes_have_limits_of_their_own(
    caller: Caller, acme: Any, alice: Any, settings: Any
) -> None:
    settings.API_RATE_PER_KEY, settings.API_RATE_PER_WORKSPACE = 4, 6
    settings.API_RATE_NORMAL, settings.API_RATE_DEAR = 3, 1
    membership = acme.memberships.get(user=alice)
    other = Caller(keys.issue(membership=membership, name="other", scope="admin")[0], membership)
    assert limits.check(caller, Route.DEAR).allowed
    verdict = limits.check(caller, Route.DEAR)
    assert verdict.refusing is not None and verdict.refusing.bucket.name == "workspace to dear routes"
    assert not limits.check(other, Route.DEAR).allowed, "dear routes are counted for the workspace"
    assert [limits.check(caller, Route.CHEAP).allowed for _ in range(4)] == [True] * 3 + [False]
    assert [limits.check(other, Route.NORMAL).allowed for _ in range(3)] == [True, True, False]
    refusing = limits.check(other, Route.CHEAP).refusing
    assert refusing is not None and refusing.bucket.name == "workspace"


def test_a_refusal_says_when_to_go_on_and_counts_nowhere(caller: Caller, settings: Any) -> None:
    settings.API_RATE_PER_KEY, settings.API_RATE_PER_WORKSPACE, settings.API_RATE_DEAR = 60, 600, 2
    first = limits.enforce(caller, Route.DEAR).headers
    assert first == {
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "1",
        "RateLimit-Reset": "30",
        "RateLimit-Policy": '60;w=60;name="key", 600;w=60;name="workspace", 2;w=60;name="workspace to dear routes"',
    }
    limits.enforce(caller, Route.DEAR)
    for _ in range(5):
        with pytest.raises(Refused, match="more than 2 requests a minute") as refusal:
            limits.enforce(caller, Route.DEAR)
    assert refusal.value.status == 429
    told = refusal.value.headers
    assert 29 <= int(told["Retry-After"]) <= 30 and told["RateLimit-Remaining"] == "0"
    assert int(told["Retry-After"]) <= int(told["RateLimit-Reset"]) <= 60
    assert limits.check(caller, Route.CHEAP).levels[0].remaining == 60 - 2 - 1


def test_a_limit_of_nought_is_none(caller: Caller, settings: Any) -> None:
    settings.API_RATE_PER_KEY = settings.API_RATE_PER_WORKSPACE = settings.API_RATE_DEAR = 0
    verdict = limits.check(caller, Route.DEAR)
    assert verdict.allowed and verdict.headers == {}


def test_a_lower_limit_or_a_clock_set_back_locks_nobody_out_for_longer() -> None:
    for _ in range(50):
        limits.ask([Bucket("key", "voicecloud:rate:less", 50)], clock=START)
    verdict = limits.ask([Bucket("key", "voicecloud:rate:less", 2)], clock=START)
    assert verdict.refusing is not None and verdict.refusing.wait == 30
    verdict = limits.ask([Bucket("key", "voicecloud:rate:less", 50)], clock=START - 10**12)
    assert verdict.refusing is not None and verdict.refusing.wait <= 2


def test_without_redis_everything_passes_and_it_is_logged_once(
    caller: Caller, settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    monkeypatch.setattr(limits, "_complained_at", float("-inf"))
    with caplog.at_level(logging.WARNING, "apps.api.limits"):
        for _ in range(3):
            verdict = limits.enforce(caller, Route.DEAR)
            assert verdict.allowed and verdict.headers == {}
    assert caplog.text.count("Redis is away") == 1
    assert caller.key.key_hash not in caplog.text


def test_buckets_go_by_themselves(caller: Caller, settings: Any) -> None:
    settings.API_RATE_PER_KEY = settings.API_RATE_PER_WORKSPACE = settings.API_RATE_DEAR = 2
    wire = Redis.from_url(site.REDIS_URL)
    limits.check(caller, Route.DEAR)
    found = list(wire.scan_iter("voicecloud:rate:*"))
    assert len(found) == 3
    assert all(0 < wire.pttl(key) <= 30_000 for key in found)
