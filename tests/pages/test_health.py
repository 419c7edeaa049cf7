from __future__ import annotations

import threading
import time
from typing import Any

import django_rq
import pytest
from django.test import Client

from apps.jobs import presence
from apps.jobs.process import make_worker
from apps.pages import health

pytestmark = pytest.mark.django_db(transaction=True)


def ready() -> tuple[int, dict[str, Any]]:
    answer = Client().get("/readyz")
    return answer.status_code, answer.json()["checks"]


def test_the_process_says_that_it_lives_without_asking_anybody(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        answer = Client().get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"ok": True})


def test_all_is_ready_when_all_is_there() -> None:
    status, checks = ready()
    assert status == 200 and set(checks) == {"database", "redis", "storage", "workers", "gpu"}
    assert checks["gpu"] == {"ok": True, "note": "none"}


def test_a_worker_for_each_queue_must_have_been_seen(settings: Any) -> None:
    settings.JOBS_INLINE = False
    assert ready()[1]["workers"]["ok"] is False
    gpu, default = make_worker("gpu"), make_worker("default")
    gpu.register_birth()
    gpu.heartbeat()
    assert ready()[1]["workers"] == {"ok": False, "reason": "no worker for default"}
    default.register_birth()
    default.heartbeat()
    assert ready()[0] == 200
    time.sleep(presence.ALIVE_SECONDS + 0.2)
    assert ready()[0] == 503, "killed: silent for longer than a living worker ever is"
    gpu.heartbeat()
    default.heartbeat()
    assert ready()[0] == 200, "back again"
    gpu.register_death()
    default.register_death()
    assert ready()[1]["workers"]["reason"] == "no worker for default, gpu"


@pytest.mark.parametrize("name", ["database", "redis", "storage", "workers", "gpu"])
def test_one_thing_that_is_down_is_named_without_its_secrets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def fail() -> None:
        raise OSError("redis://:hunter2@redis.internal refused")

    monkeypatch.setitem(health.CHECKS, name, fail)
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert [key for key, check in answer.json()["checks"].items() if not check["ok"]] == [name]
    assert "hunter2" not in answer.content.decode()


def test_gpus_are_ready_while_one_worker_has_its_own() -> None:
    wire = django_rq.get_connection("gpu")
    lost = {"host": "two", "gpu": {"state": "lost", "reason": "GPU is lost", "devices": []}}
    presence.say(wire, ["gpu"], "one", {"host": "one", "gpu": {"state": "ok", "reason": "", "devices": []}})
    presence.say(wire, ["gpu"], "three", {"host": "three", "gpu": {"state": "none"}})
    assert ready()[1]["gpu"] == {"ok": True, "note": "ok"}
    presence.say(wire, ["gpu"], "two", lost)
    assert ready()[1]["gpu"] == {"ok": True, "note": "lost by 1 of 2 workers"}
    presence.leave(wire, ["gpu"], "one")
    status, checks = ready()
    assert status == 503 and checks["gpu"] == {"ok": False, "reason": "lost by 1 of 1 workers"}
    for name in ("two", "three"):
        presence.leave(wire, ["gpu"], name)


def test_a_real_redis_that_is_gone_is_noticed(settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock?db=0"
    assert ready()[1]["redis"]["ok"] is False


def test_what_hangs_is_cut_off_and_does_not_hold_up_the_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LIMIT_SECONDS", 0.3)
    released = threading.Event()
    monkeypatch.setitem(health.CHECKS, "storage", lambda: released.wait(20) and None)
    started = time.monotonic()
    for _ in range(4):
        status, checks = ready()
        assert status == 503 and "no answer" in checks["storage"]["reason"]
        assert checks["database"]["ok"] is True
    assert time.monotonic() - started < 4
    released.set()
