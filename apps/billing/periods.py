"""Months that begin on a subscription's own day and hour."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Period:
    """From ``start`` (included) to ``end`` (not included)."""

    start: datetime
    end: datetime


def period_of(anchor: datetime, now: datetime) -> Period:
    """Return the month counted from ``anchor`` that ``now`` lies in; ``now`` may be before the anchor, too.

    A month that lacks the anchor's day begins on its last one, as Stripe has it: 31 January, 28 February, 31 March.
    """
    months = (now.year - anchor.year) * 12 + now.month - anchor.month
    if later(anchor, months) > now:
        months -= 1
    return Period(later(anchor, months), later(anchor, months + 1))


def later(anchor: datetime, months: int) -> datetime:
    """Return the same time ``months`` later, on the month's last day where it has no such day."""
    years, month = divmod(anchor.month - 1 + months, 12)
    year = anchor.year + years
    day = min(anchor.day, calendar.monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)
