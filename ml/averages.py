"""Means of judged conversions, each with the interval that says how far chance alone may have moved it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
Array = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000

AVERAGED = (
    "secs", "source_secs", "margin", "own_secs", "unconverted_secs", "f0_correlation", "f0_cents", "fcpe_correlation",
    "fcpe_cents", "overall", "p808", "source_overall", "source_p808", "rtf",
)  # fmt: skip
RATIOS = {
    "per": ("errors", "phones"),
    "natural_per": ("natural_errors", "phones"),
    "per_ratio": ("errors", "natural_errors"),
    "heard_per": ("heard_errors", "heard_phones"),
}
WORST = ("length_error", "silence_db")
SUMMED = ("words", "clicks", "source_clicks")


def mean(name: str, rows: Sequence[Row]) -> Row:
    """The mean of conversions' figures as one row; "intervals" holds [low, high] of those that chance moves.

    Phone errors are summed before they are divided, so that long sentences count for more; of length errors and
    silences the worst is kept; words and clicks are summed. What no conversion has is left out.
    """
    found: Row = {"name": name, "conversions": len(rows)}
    intervals: dict[str, list[float]] = {}
    for key in AVERAGED:
        values = np.array([row[key] for row in rows if key in row], np.float64)
        if len(values):
            _add(found, intervals, key, values, np.ones(len(values)))
    for key, (above, below) in RATIOS.items():
        spoken = [row for row in rows if above in row and below in row]
        if spoken:
            errors = np.array([row[above] for row in spoken], np.float64)
            _add(found, intervals, key, errors, np.array([row[below] for row in spoken], np.float64))
    for key in WORST:
        found |= {key: max(row[key] for row in rows if key in row)} if any(key in row for row in rows) else {}
    for key in SUMMED:
        found |= {key: sum(row[key] for row in rows if key in row)} if any(key in row for row in rows) else {}
    return found | ({"intervals": intervals} if intervals else {})


def _add(found: Row, intervals: dict[str, list[float]], key: str, above: Array, below: Array) -> None:
    found[key] = float(above.sum() / max(1.0, below.sum()))
    span = interval(above, below)
    if span is not None:
        intervals[key] = [span[0], span[1]]


def interval(above: Array, below: Array) -> tuple[float, float] | None:
    """The 95 % interval of sum(above) / sum(below) over conversions (n,); None for a single one.

    The percentile bootstrap (Efron and Tibshirani, 1993, chapter 13): conversions are drawn again with replacement,
    `RESAMPLES` times, with a fixed seed. Its voices stay the same, so it says nothing of other voices.
    """
    count = len(above)
    if count < 2:
        return None
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    found = above[drawn].sum(axis=1) / np.maximum(below[drawn].sum(axis=1), 1.0)
    outside = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(found, (outside, 100 - outside))
    return float(low), float(high)
