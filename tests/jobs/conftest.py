from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.jobs.models import Job
from apps.jobs.services import submit
from tests.jobs import bodies


@pytest.fixture
def queued(acme: Any, alice: Any) -> Callable[..., Job]:
    """Return a function that inserts a queued job, which nothing runs unless the test does."""

    def make(task: Callable[[int], None] = bodies.succeed, **given: Any) -> Job:
        values = {
            "workspace": acme,
            "created_by": alice,
            "kind": "conversion",
            "title": "Hello as Ada",
            "task": f"{task.__module__}.{task.__qualname__}",
            "queue": "default",
        }
        return Job.objects.create(**(values | given))

    return make


@pytest.fixture
def submitted(acme: Any, alice: Any) -> Callable[..., Job]:
    """Return a function that submits a job in Alice's name."""

    def make(task: Callable[[int], None] = bodies.succeed, **given: Any) -> Job:
        values = {"workspace": acme, "user": alice, "kind": "conversion", "title": "Hello as Ada", "queue": "default"}
        return submit(task=task, **(values | given))

    return make
