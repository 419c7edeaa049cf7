"""Pitch at 100 frames per second: one function per method, all with the same signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

FRAMES_PER_SECOND = 100
SWIFT_RATE = 16_000
VOICED_CONFIDENCE = 0.5


@dataclass(frozen=True)
class F0Track:
    """Pitch of one signal. `f0`: (T,) in Hz, 0 where unvoiced; `confidence`: (T,) in 0..1."""

    f0: NDArray[np.float32]
    confidence: NDArray[np.float32]


def extract(
    samples: NDArray[np.float32],
    sample_rate: int,
    method: str = "swift",
    minimum_hz: float = 50.0,
    maximum_hz: float = 1100.0,
) -> F0Track:
    """Pitch of mono `samples`; frame t is centred at t * 10 ms, T = 1 + samples // (sample_rate / 100).

    Raises KeyError for a method that is not in METHODS.
    """
    return METHODS[method](samples, sample_rate, minimum_hz, maximum_hz)


def swift(samples: NDArray[np.float32], sample_rate: int, minimum_hz: float, maximum_hz: float) -> F0Track:
    """SwiftF0 (a 131 kB network in its package): 16 ms frames, interpolated in log frequency to 10 ms."""
    frames = 1 + len(samples) * FRAMES_PER_SECOND // sample_rate
    if sample_rate != SWIFT_RATE:
        samples = soxr.resample(samples, sample_rate, SWIFT_RATE)
    if not len(samples):
        return F0Track(np.zeros(frames, np.float32), np.zeros(frames, np.float32))
    found = _detector().detect(samples, SWIFT_RATE, fmin=minimum_hz, fmax=maximum_hz)
    times = np.arange(frames) / FRAMES_PER_SECOND
    confidence = np.interp(times, found.timestamps, found.confidence)
    sure = found.confidence >= VOICED_CONFIDENCE
    if not sure.any():
        return F0Track(np.zeros(frames, np.float32), confidence.astype(np.float32))
    pitch = np.exp2(np.interp(times, found.timestamps[sure], np.log2(found.pitch_hz[sure])))
    voiced = confidence >= VOICED_CONFIDENCE
    return F0Track(np.where(voiced, pitch, 0).astype(np.float32), confidence.astype(np.float32))


@lru_cache(maxsize=1)
def _detector() -> Any:
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1, spin=False)


Method = Callable[[NDArray[np.float32], int, float, float], F0Track]
METHODS: dict[str, Method] = {"swift": swift}
