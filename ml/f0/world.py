"""The two pitch methods of the WORLD vocoder (Morise), by its own code in the package pyworld-prebuilt."""

from __future__ import annotations

import numpy as np
import pyworld
from numpy.typing import NDArray

from ml.f0 import FRAMES_PER_SECOND, RATE, F0Track
from ml.f0.periodicity import REPEATED, repetition

_FRAME_MS = 1000.0 / FRAMES_PER_SECOND


def dio(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """DIO (Morise, Kawahara and Katayose, 2009), refined by instantaneous frequency (StoneMask); see `_judged`."""
    sound = samples.astype(np.float64)
    f0, times = pyworld.dio(sound, RATE, f0_floor=minimum_hz, f0_ceil=maximum_hz, frame_period=_FRAME_MS)
    return _judged(samples, pyworld.stonemask(sound, f0, times, RATE))


def harvest(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """Harvest (Morise, 2017); see `_judged`."""
    sound = samples.astype(np.float64)
    f0, _ = pyworld.harvest(sound, RATE, f0_floor=minimum_hz, f0_ceil=maximum_hz, frame_period=_FRAME_MS)
    return _judged(samples, f0)


def _judged(samples: NDArray[np.float32], f0: NDArray[np.float64]) -> F0Track:
    """Adds a confidence, which WORLD does not state: how alike neighbouring periods are.

    Harvest bridges gaps on purpose and leaves voicing to WORLD's aperiodicity; here frames that do not repeat
    themselves are made unvoiced instead.
    """
    voiced = np.flatnonzero(f0 > 0)
    confidence = np.zeros(len(f0), np.float32)
    confidence[voiced] = np.clip(repetition(samples, voiced, f0[voiced]), 0, 1)
    return F0Track(np.where(confidence >= REPEATED, f0, 0).astype(np.float32), confidence)
