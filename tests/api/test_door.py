"""What stands before every operation: how much is asked is counted, and what is asked twice is done once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.voices.models import Voice
from tests.api.conftest import Program, error_of


def test_every_answer_says_how_much_may_be_asked(api: Program, held: dict[str, Any], settings: Any) -> None:
    code = held["recording"].code
    answers = [api.get("/voices"), api.post("/voices", {}), api.get("/voices/7"), api.get(f"/recordings/{code}/audio")]
    answers += [api.get(f"/recordings/{held['voice'].code}"), api.get("/voices", If_None_Match="*")]
    file = 302 if settings.S3_BUCKET else 200
    assert [answer.status_code for answer in answers] == [200, 422, 404, file, 404, 304]
    for answer in answers:
        assert ("RateLimit-Remaining" in answer) == (answer is not answers[2])  # no address, so nothing was counted


def test_too_much_is_told_when_to_come_again(api: Program, settings: Any) -> None:
    settings.API_RATE_PER_KEY = 2
    assert [api.get("/jobs").status_code for _ in range(2)] == [200, 200]
    answer = api.get("/jobs")
    assert error_of(answer, 429)["type"] == "rate_limited"
    assert 0 < int(answer["Retry-After"]) <= 60
    assert answer["RateLimit-Remaining"] == "0"


def test_work_is_dearer_than_looking(api: Program, held: dict[str, Any], settings: Any) -> None:
    settings.API_RATE_DEAR = 1
    body = {"voice": str(held["voice"].code), "source": str(held["source"].code)}
    assert api.post("/conversions", body).status_code == 201
    error_of(api.post("/conversions", body), 429)
    assert api.get("/conversions").status_code == 200
    assert api.post("/voices", {"name": "Another"}).status_code == 201


def test_the_same_request_twice_is_done_once(api: Program, acme: Any) -> None:
    first = api.post("/voices", {"name": "Ada"}, Idempotency_Key="a-1")
    second = api.post("/voices", {"name": "Ada"}, Idempotency_Key="a-1")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second["Idempotent-Replayed"] == "true"
    assert Voice.objects.count() == 1
    assert error_of(api.post("/voices", {"name": "Bea"}, Idempotency_Key="a-1"), 409)["type"] == "conflict"
    refused = [api.post("/voices", {}, Idempotency_Key="a-2") for _ in range(2)]
    assert [error_of(answer, 422)["param"] for answer in refused[:1]] == ["name"]
    assert refused[1].content == refused[0].content


def test_a_key_that_is_none_is_refused(api: Program) -> None:
    error_of(api.post("/voices", {"name": "Ada"}, Idempotency_Key="a" * 256), 400)
    assert not Voice.objects.exists()


SECRETS = ["/webhooks/{endpoint}/secrets", "/webhooks/{endpoint}/rotate"]


@pytest.mark.parametrize("path", SECRETS)
def test_secrets_are_not_kept_to_be_repeated(path: str, api: Program, held: dict[str, Any]) -> None:
    address = path.replace("{endpoint}", str(held["endpoint"].code))
    first = api.post(address, Idempotency_Key="s-1")
    assert first["Cache-Control"] == "no-store"
    assert "whsec_" in first.content.decode()
    error_of(api.post(address, Idempotency_Key="s-1"), 409)


def test_the_role_is_asked_before_anything_is_done(program: Callable[..., Program], acme: Any) -> None:
    error_of(program("read").post("/voices", {"name": "Ada"}, Idempotency_Key="r-1"), 403)
    assert program("create").post("/voices", {"name": "Ada"}, Idempotency_Key="r-1").status_code == 201
