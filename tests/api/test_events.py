"""Server-Sent Events from a running site: a job that goes on is told of until it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.stack import Stack

SEED = """
from apps.accounts import keys, services
from apps.accounts.models import User
from apps.jobs.models import Job
user = User.objects.create_user(f"{name}@example.org", "x")
workspace = services.create_workspace(user=user, name=name)
membership = workspace.memberships.get()
key, token = keys.issue(membership=membership, name="SSE", scope="read")
job = Job.objects.create(
    workspace=workspace, kind="slicing", title="Listening", task="nothing", queue="nobody", created_by=user
)
result = {"token": token, "job": str(job.code), "key": key.pk}
"""
MOVE = """
from django.db import transaction
from apps.jobs.events import publish
from apps.jobs.models import Job
job = Job.objects.get(code=which)
for name, value in changes.items():
    setattr(job, name, value)
with transaction.atomic():
    job.save()
    publish(job)
"""
END = """
from apps.jobs import services
from apps.jobs.models import Job
result = services.cancel(Job.objects.get(code=which))
"""
REVOKE = """
from apps.accounts import keys
from apps.accounts.models import ApiKey
keys.revoke(key=ApiKey.objects.get(pk=pk), user=None)
"""


@pytest.fixture
def made(stack: Stack, request: pytest.FixtureRequest) -> dict[str, Any]:
    """A workspace with a key and a job that no worker takes."""
    found: dict[str, Any] = stack.django(SEED, name=f"sse-{abs(hash(request.node.name))}")
    return found


@pytest.fixture
def client(stack: Stack, made: dict[str, Any]) -> Iterator[httpx.Client]:
    """A program with the key; it waits for a message as long as three heartbeats."""
    headers = {"Authorization": f"Bearer {made['token']}", "Last-Event-ID": "17"}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=40.0) as client:
        yield client


def events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (event, data) of a stream; what begins with a colon is a heartbeat."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


@pytest.mark.slow
def test_a_job_is_told_of_until_it_ends(stack: Stack, made: dict[str, Any], client: httpx.Client) -> None:
    with client.stream("GET", f"/jobs/{made['job']}/events") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        told = events(answer.iter_lines())
        kind, job = next(told)
        assert (kind, job["id"], job["progress"]) == ("job.queued", made["job"], 0.0)
        stack.django(MOVE, which=made["job"], changes={"progress": 0.5, "stage": "listening"})
        kind, job = next(told)
        assert (kind, job["progress"], job["stage"]) == ("job.queued", 0.5, "listening")
        stack.django(END, which=made["job"])
        assert [kind for kind, _ in told][-1] == "job.cancelled"
    with client.stream("GET", f"/jobs/{made['job']}/events") as answer:
        assert [kind for kind, _ in events(answer.iter_lines())] == ["job.cancelled"]


@pytest.mark.slow
def test_all_jobs_of_the_workspace_and_of_no_other(stack: Stack, made: dict[str, Any], client: httpx.Client) -> None:
    other = stack.django(SEED, name=f"sse-other-{made['key']}")
    with client.stream("GET", "/events") as answer:
        told = events(answer.iter_lines())
        assert next(told)[1]["id"] == made["job"]
        stack.django(MOVE, which=other["job"], changes={"progress": 0.9})
        stack.django(MOVE, which=made["job"], changes={"progress": 0.2})
        assert next(told)[1]["progress"] == 0.2
        stack.django(END, which=made["job"])
        assert next(told)[0] == "job.cancelled"


@pytest.mark.slow
def test_silence_is_filled_and_a_key_that_is_revoked_ends_it(
    stack: Stack, made: dict[str, Any], client: httpx.Client
) -> None:
    with client.stream("GET", "/events") as answer:
        lines = (line for line in answer.iter_lines() if line.startswith(":"))
        assert next(lines) == ": still here"
        stack.django(REVOKE, pk=made["key"])
        assert list(lines) == []


@pytest.mark.slow
def test_a_key_has_few_streams_and_gets_them_back(
    stack: Stack, made: dict[str, Any], client: httpx.Client, opened: Callable[[], httpx.Response]
) -> None:
    for _ in range(10):
        assert opened().status_code == 200
    full = client.get("/events")
    assert full.status_code == 429
    assert full.json()["error"]["type"] == "rate_limited"
    stack.django(END, which=made["job"])
    opened.close_all()  # type: ignore[attr-defined]
    stack.wait_until(lambda: _status(client) == 200, seconds=60.0, every=1.0)


def _status(client: httpx.Client) -> int:
    with client.stream("GET", "/events") as answer:
        return answer.status_code


@pytest.fixture
def opened(client: httpx.Client) -> Iterator[Any]:
    """Return a function that opens one more stream of events."""
    streams: list[Any] = []

    class Opened:
        def __call__(self) -> httpx.Response:
            streams.append(client.stream("GET", "/events"))
            answer: httpx.Response = streams[-1].__enter__()
            return answer

        def close_all(self) -> None:
            while streams:
                streams.pop().__exit__(None, None, None)

    every = Opened()
    yield every
    every.close_all()
