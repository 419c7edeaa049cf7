"""Pages by cursor: every row once, in order, whatever is added meanwhile; and no list asks once a row."""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.jobs.models import Job
from tests.api.conftest import Program, error_of

START = datetime(2026, 1, 1, tzinfo=UTC)


def add(workspace: Any, second: int) -> str:
    job = Job.objects.create(workspace=workspace, kind="slicing", title="t", task="t", queue="default")
    Job.objects.filter(pk=job.pk).update(created_at=START + timedelta(seconds=second))
    return str(job.code)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(
    seconds=st.lists(st.integers(0, 3), min_size=0, max_size=12),
    limit=st.integers(1, 5),
    newer=st.lists(st.integers(4, 9), max_size=6),
)
def test_each_row_comes_once_and_in_order(
    acme: Any, api: Program, seconds: list[int], limit: int, newer: list[int]
) -> None:
    with transaction.atomic():
        there = {add(acme, second) for second in seconds}
        seen: list[dict[str, Any]] = []
        cursor = ""
        while cursor is not None:
            page = api.get(f"/jobs?limit={limit}&cursor={cursor}").json()
            assert len(page["items"]) <= limit
            seen += page["items"]
            cursor = page["next"]
            if newer:
                add(acme, newer.pop())
        codes = [item["id"] for item in seen if item["id"] in there]
        assert len(codes) == len(set(codes)) and set(codes) == there
        times = [item["created_at"] for item in seen]
        assert times == sorted(times, reverse=True)
        transaction.set_rollback(True)


def test_the_last_page_says_so(acme: Any, api: Program) -> None:
    for second in range(4):
        add(acme, second)
    assert api.get("/jobs?limit=4").json()["next"] is None
    assert api.get("/jobs?limit=3").json()["next"] is not None


@pytest.mark.parametrize("cursor", ["x", "eyJhIjoxfQ:1abc:def", "W10:1tQ:x"])
def test_a_cursor_that_was_made_up(api: Program, cursor: str) -> None:
    assert error_of(api.get(f"/jobs?cursor={cursor}"), 422)["param"] == "cursor"


def test_a_cursor_of_another_list(acme: Any, api: Program, held: dict[str, Any]) -> None:
    for second in range(2):
        add(acme, second)
    cursor = api.get("/jobs?limit=1").json()["next"]
    assert error_of(api.get(f"/voices?cursor={cursor}"), 422)["param"] == "cursor"


@pytest.mark.parametrize("limit", ["0", "101", "-1", "many"])
def test_a_limit_out_of_bounds(api: Program, limit: str) -> None:
    assert error_of(api.get(f"/jobs?limit={limit}"), 422)["param"] == "limit"


def test_a_cursor_tells_no_number_of_a_row(acme: Any, api: Program) -> None:
    from django.core import signing

    for second in range(2):
        add(acme, second)
    cursor = api.get("/jobs?limit=1").json()["next"]
    place = signing.loads(cursor, salt="cursor:/api/v1/jobs")
    assert place == [(START + timedelta(seconds=1)).isoformat(), api.get("/jobs?limit=1").json()["items"][0]["id"]]


def again(row: Any, **changed: Any) -> Any:
    """Add a row like this one."""
    twin = copy.copy(row)
    twin._state = copy.copy(row._state)
    twin.pk, twin.code = None, uuid.uuid4()
    twin._state.adding = True
    twin._state.fields_cache = {}
    for name, value in changed.items():
        setattr(twin, name, value)
    twin.save(force_insert=True)
    return twin


VERSIONS = iter(range(2, 99))
# List -> what is added to it, and what must differ.
GROWN: dict[str, tuple[str, dict[str, Any]]] = {
    "/voices": ("voice", {"name": uuid.uuid4}),
    "/voices/{voice}/recordings": ("recording", {"sha256": lambda: uuid.uuid4().hex, "job": "job"}),
    "/voices/{voice}/takes": ("take", {}),
    "/voices/{voice}/consents": ("consent", {}),
    "/voices/{voice}/models": (
        "model",
        {"version": VERSIONS.__next__, "job": "job", "active": lambda: False},
    ),
    "/sources": ("source", {}),
    "/conversions": ("conversion", {"job": "job"}),
    "/batches": ("batch", {}),
    "/jobs": ("job", {}),
    "/jobs/{job}/artifacts": ("artifact", {"name": lambda: f"{uuid.uuid4()}.wav"}),
    "/invitations": ("invitation", {"token_hash": lambda: uuid.uuid4().hex}),
    "/webhooks": ("endpoint", {}),
    "/webhooks/{endpoint}/deliveries": ("delivery", {}),
}


@pytest.mark.parametrize("path", GROWN)
def test_a_longer_list_takes_no_more_queries(path: str, api: Program, held: dict[str, Any]) -> None:
    kind, changed = GROWN[path]
    address = path
    for word in path.replace("}", "{").split("{")[1::2]:
        address = address.replace(f"{{{word}}}", str(held[word].code))

    def queries() -> tuple[int, int]:
        with CaptureQueriesContext(
            connection,
        ) as asked:
            answer = api.get(address)
        body = answer.json()
        return len(asked), len(body if isinstance(body, list) else body["items"])

    api.get("/health")
    api.get("/workspace")  # the key's last use is written now, not below
    before, few = queries()
    for _ in range(3):
        values = {name: again(held["job"]) if make == "job" else make() for name, make in changed.items()}
        again(held[kind], **values)
    after, many = queries()
    assert many == few + 3
    assert after == before <= 6
