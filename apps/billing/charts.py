"""Bars of the usage page, as figures that its templates draw with: in the units of an SVG's own view box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from apps.billing import amounts

WIDTH, HEIGHT = 620.0, 120.0
_GAP = 0.25  # of a day's place
_LEAST = 2.0  # a day with any use can be seen


@dataclass(frozen=True)
class Bar:
    """One day: where its bar stands, and what it says."""

    x: float
    y: float
    width: float
    height: float
    day: date
    amount: str


@dataclass(frozen=True)
class Chart:
    """A bar for each day of a period; ``most`` is what the highest stands for."""

    bars: list[Bar]
    most: str
    first: date
    last: date
    width: float = WIDTH
    height: float = HEIGHT


def by_day(meter: str, days: Sequence[date], used: Mapping[date, int]) -> Chart:
    """Return the chart of a meter's use on each of the ``days``."""
    place, most = WIDTH / len(days), max(used.values(), default=0)
    bars = []
    for index, day in enumerate(days):
        amount = used.get(day, 0)
        height = max(_LEAST, HEIGHT * amount / most) if amount else 0.0
        bars.append(
            Bar(
                x=round(place * (index + _GAP / 2), 2),
                y=round(HEIGHT - height, 2),
                width=round(place * (1 - _GAP), 2),
                height=round(height, 2),
                day=day,
                amount=amounts.shown(meter, amount),
            )
        )
    return Chart(bars, amounts.shown(meter, most), days[0], days[-1])


@dataclass(frozen=True)
class Level:
    """What there is of a meter, in hundredths: used, set aside, left of grants; the rest is left of the plan."""

    used: float
    reserved: float
    granted: float

    @property
    def granted_from(self) -> float:
        """Where the part begins that was given or bought."""
        return 100.0 - self.granted


def level(used: int, reserved: int, plan_left: int, granted: int) -> Level:
    """Return how full a meter is."""
    part = 100.0 / max(1, used + reserved + plan_left + granted)
    return Level(round(part * used, 2), round(part * reserved, 2), round(part * granted, 2))
