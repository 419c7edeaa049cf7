"""How much a signal repeats itself at a given pitch: tells voice from noise where a method does not."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray

from ml.f0 import FRAMES_PER_SECOND, RATE, F0Track
from ml.filters import Cascade, Sections, band_pass

_LOW_RATE = 8_000
_STRETCHES, _AT_ONCE = np.array([[0.97], [1.0], [1.03]]), 500
REPEATED = 0.5
"""Correlation of neighbouring periods above which a frame counts as voice: white noise hardly ever reaches it."""


def confirmed(found: F0Track, samples: NDArray[np.float32], sure: float) -> F0Track:
    """`found` of `samples` (N,) at 16 kHz, but unvoiced where it is less confident than `sure` and nothing repeats."""
    doubtful = np.flatnonzero((found.f0 > 0) & (found.confidence < sure))
    f0 = found.f0.copy()
    f0[doubtful[repetition(samples, doubtful, found.f0[doubtful].astype(np.float64)) < REPEATED]] = 0
    return F0Track(f0, found.confidence)


def repetition(
    samples: NDArray[np.float32], frames: NDArray[np.int64], pitch: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How alike two stretches of 30 ms, one period apart around each frame, are: the highest correlation, -1..1.

    Below 1.2 kHz, where a breathy voice is periodic, and for periods from 3 % shorter to 3 % longer.
    """
    best = np.full(len(frames), -1.0)
    if not len(frames):
        return best
    low, edge = soxr.resample(samples, RATE, _LOW_RATE), np.zeros(_LOW_RATE // 8, np.float32)
    low = np.concatenate([edge, Cascade(_breath_band())(low).astype(np.float32), edge])
    stretches = np.lib.stride_tricks.sliding_window_view(low, 240)
    for start in range(0, len(frames), _AT_ONCE):
        piece = slice(start, start + _AT_ONCE)
        # A causal filter delays the band by about a millisecond, which does not matter over 30 ms.
        centres = frames[piece] * (_LOW_RATE // FRAMES_PER_SECOND) + _LOW_RATE // 8
        period = np.round(_LOW_RATE / (pitch[piece] * _STRETCHES)).astype(int)
        first = np.maximum(120, np.minimum(centres - period // 2, len(low) - 121 - period))
        one, two = stretches[first - 120], stretches[first + period - 120]
        energy = np.einsum("kij,kij->ki", one, one) * np.einsum("kij,kij->ki", two, two)
        likeness = np.einsum("kij,kij->ki", one, two) / np.sqrt(energy + 1e-12)
        best[piece] = np.maximum(best[piece], likeness.max(axis=0))
    return best


@lru_cache(maxsize=1)
def _breath_band() -> Sections:
    return band_pass(4, 60.0, 1200.0, _LOW_RATE)
