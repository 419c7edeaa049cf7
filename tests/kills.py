"""A process that is killed at any step: every write of rows or files is a step, before which or after which it dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.files.storage import Storage, storages
from django.db.models import Model, QuerySet

STEPS: tuple[tuple[Any, str], ...] = (
    (QuerySet, "update"),
    (QuerySet, "delete"),
    (Model, "save"),
    (Model, "delete"),
)


class Killed(BaseException):
    """No handler of ours may catch it, as none runs when a process is killed."""


def deaths(work: Callable[[], Any], *, most: int = 400, strict: bool = True) -> Iterator[str]:
    """Run ``work`` again and again, killed before its first step, after it, before its second, until it gets through.

    Yields what it died at, after each death; the caller looks at what was left. With ``strict``, fails when it is still
    dying after ``most`` deaths, or was never killed.
    """
    for number in range(most):
        moment = killed(work, number // 2, before=number % 2 == 0)
        if moment is None:
            assert not strict or number > 1, "nothing was ever killed"
            return
        yield moment
    if strict:
        raise AssertionError(f"still dying after {most} deaths")


def killed(work: Callable[[], Any], at: int, *, before: bool) -> str | None:
    """Run ``work``, killed before or after its step number ``at``; return what it died at, None when it got through."""
    taken = 0
    with pytest.MonkeyPatch.context() as patch:

        def step(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def act(*args: Any, **kwargs: Any) -> Any:
                nonlocal taken
                mine, taken = taken, taken + 1
                if mine == at and before:
                    raise Killed(name)
                result = real(*args, **kwargs)
                if mine == at:
                    raise Killed(name)
                return result

            return act

        for owner, name in STEPS:
            patch.setattr(owner, name, step(f"{owner.__name__}.{name}", getattr(owner, name)))
        storage = type(storages["default"])
        for name in ("delete", "save"):
            patch.setattr(storage, name, step(f"{Storage.__name__}.{name}", getattr(storage, name)))
        try:
            work()
        except Killed as killed:
            return f"{'before' if before else 'after'} step {at}, {killed}"
    return None
