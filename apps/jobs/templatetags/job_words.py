"""Words for lengths of time and for places in line."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils import timezone

from apps.jobs import line
from apps.jobs.models import Job

register = template.Library()


@register.filter
def duration(seconds: float | None) -> str:
    """Return a length of time (seconds) in at most two units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``; "" for None."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    if minutes:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{rest} s"


@register.filter
def place_in_line(job: Job) -> int | None:
    """Return about how many turns it takes until a queued job starts, 1 for the next; None when it is not in line."""
    return line.place_in_line(job)


@register.filter
def in_days(moment: datetime) -> str:
    """Return how far off a moment is in whole days: ``in 6 days``, ``in 1 day``, ``within a day``."""
    days = (moment - timezone.now()).days
    return "within a day" if days < 1 else f"in {days} day{'' if days == 1 else 's'}"


@register.filter
def is_soon(moment: datetime | None, days: int) -> bool:
    """Say whether a moment is at most so many days off."""
    return moment is not None and (moment - timezone.now()).days < days
