"""What a local Stripe remembers: objects in the shapes of Stripe's own examples, a clock that can be put on, events.

Everything is plain JSON, so that it can be written to a file and read again.
"""

from __future__ import annotations

import calendar
import copy
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Json = dict[str, Any]
SHAPES: Json = json.loads(Path(__file__).with_name("stripe_fixtures.json").read_text())["resources"]
PREFIXES = {
    "billing_portal.session": "bps",
    "checkout.session": "cs_test",
    "customer": "cus",
    "event": "evt",
    "invoice": "in",
    "line_item": "il",
    "payment_intent": "pi",
    "price": "price",
    "product": "prod",
    "subscription": "sub",
    "subscription_item": "si",
    "subscription_schedule": "sub_sched",
}
VERSION = "2026-10-28.endive"
LIVE = ("trialing", "active", "past_due")  # of a subscription: it goes on
KEPT = ("by_id", "ahead", "made", "pending", "failing", "answers")


class Rows:
    """All objects by id, the oldest first; ``now`` is the clock of this Stripe, in whole seconds."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.clear()
        if path is not None and path.exists():
            vars(self).update(json.loads(path.read_text()))

    def clear(self) -> None:
        """Forget everything."""
        self.by_id: dict[str, Json] = {}
        self.ahead = 0  # seconds that the clock was put on
        self.made = 0
        self.pending: list[str] = []  # events that were not delivered yet
        self.failing: list[str] = []  # customers whose payments fail
        self.answers: dict[str, list[Any]] = {}  # idempotency key -> digest of the request, status, answer

    def save(self) -> None:
        """Write it to its file, if it has one."""
        if self.path is not None:
            temporary = self.path.with_suffix(".new")
            temporary.write_text(json.dumps({name: getattr(self, name) for name in KEPT}))
            temporary.replace(self.path)

    @property
    def now(self) -> int:
        """The time here, in seconds since 1970."""
        return int(time.time()) + self.ahead

    def make(self, kind: str, **values: Any) -> Json:
        """Return a new object in the shape of Stripe's example; a name that it lacks is a mistake here."""
        row: Json = copy.deepcopy(SHAPES[kind])
        unknown = set(values) - set(row)
        assert not unknown, f"a {kind} has no {unknown}"
        self.made += 1
        row["id"] = f"{PREFIXES[kind]}_{self.made:05d}{secrets.token_hex(8)}"
        row["livemode"] = False
        if "created" in row:
            row["created"] = self.now
        row.update(values)
        if kind != "subscription_item":  # lives within its subscription
            self.by_id[row["id"]] = row
        return row

    def get(self, code: str, kind: str) -> Json | None:
        """Return an object by id."""
        row = self.by_id.get(code)
        return row if row is not None and row["object"] == kind else None

    def all(self, kind: str, **wanted: Any) -> Iterator[Json]:
        """Yield the objects of a kind with these values, the newest first as Stripe lists them."""
        for row in reversed(list(self.by_id.values())):
            if row["object"] == kind and all(row.get(name) == value for name, value in wanted.items()):
                yield row

    def emit(self, kind: str, row: Json) -> Json:
        """Tell of something: the event carries the object as it is now, and waits to be delivered."""
        event = self.make(
            "event", type=kind, api_version=VERSION, data={"object": copy.deepcopy(row)}, pending_webhooks=1
        )
        self.pending.append(event["id"])
        return event


def later(moment: int, months: int) -> int:
    """Return the same day and time ``months`` on, on the month's last day where it has no such day."""
    start = datetime.fromtimestamp(moment, UTC)
    years, month = divmod(start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(start.year + years, month + 1)[1])
    return int(start.replace(year=start.year + years, month=month + 1, day=day).timestamp())


def next_period(anchor: int, after: int) -> int:
    """Return when the period that begins at ``after`` ends: the first monthly return of the anchor later than that."""
    months = 0
    while later(anchor, months) <= after:
        months += 1
    return later(anchor, months)
