"""What a workspace holds: files, by kind, and other things that a plan limits by number instead of by use.

Higher rooms say here, when they are loaded, which files they store; how many of another thing there are is counted by
whoever adds one. Both are compared with the plan under the lock that orders all that a workspace reserves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet, Sum

from apps.accounts.models import Workspace
from apps.billing import amounts
from apps.billing.errors import QuotaExceeded
from apps.billing.services.subscriptions import locked

STORAGE = "storage_bytes"


@dataclass(frozen=True)
class Kind:
    """A kind of stored file: its rows with a file, the way to their workspace, the column with its size in bytes.

    ``counts`` is the column that a plan's storage is compared with, where that is another one: a file on its way takes
    all of its place from the start.
    """

    name: str
    rows: QuerySet[Any]
    workspace: str
    size: str | None
    counts: str | None = None

    @property
    def counted(self) -> str | None:
        """The column that storage is counted by; None where rows do not know their size."""
        return self.counts or self.size


_KINDS: dict[str, Kind] = {}
_COUNTS: dict[str, Callable[[Workspace], int]] = {}


def register(*kinds: Kind) -> None:
    """Make kinds of stored files known; an app does so in its ``AppConfig.ready``."""
    _KINDS.update({kind.name: kind for kind in kinds})


def count_by(meter: str, count: Callable[[Workspace], int]) -> None:
    """Make known how many of a held meter a workspace has; its app does so in its ``AppConfig.ready``."""
    _COUNTS[meter] = count


def held(workspace: Workspace) -> dict[str, int]:
    """Return how much the workspace holds of each meter that is known to be counted."""
    return {meter: count(workspace) for meter, count in _COUNTS.items()}


def kinds() -> list[Kind]:
    """Return all kinds of stored files."""
    return list(_KINDS.values())


def stored_bytes(workspace: Workspace) -> int:
    """Return how many bytes the workspace's files take, those on their way included."""
    sums = [
        kind.rows.filter(**{kind.workspace: workspace})
        .order_by()
        .values(kind.workspace)
        .annotate(total=Sum(kind.counted))
        .values_list("total", flat=True)
        for kind in kinds()
        if kind.counted
    ]
    if not sums:
        return 0
    return sum(total or 0 for total in sums[0].union(*sums[1:], all=True))


@transaction.atomic
def require(*, workspace: Workspace, meter: str, count: Callable[[], int], more: int = 1) -> None:
    """Raise QuotaExceeded unless the plan lets the workspace hold ``more`` beyond what ``count`` finds.

    Called in the transaction that adds them: the lock is held until its end, so of two that add at once the later one
    counts what the earlier one added. A workspace above its limit keeps all it has and adds nothing.
    """
    limit = locked(workspace).effective().limits[meter]
    if limit is None or more < 1:
        return
    held = count()
    if held + more > limit:
        left = max(0, limit - held)
        sentence = amounts.full(meter, limit, held, more)
        raise QuotaExceeded(sentence, meter=meter, wanted=more, left=left)


def require_storage(workspace: Workspace, more: int) -> None:
    """Raise QuotaExceeded unless the plan has room for ``more`` bytes; see ``require``."""
    require(workspace=workspace, meter=STORAGE, count=lambda: stored_bytes(workspace), more=more)
