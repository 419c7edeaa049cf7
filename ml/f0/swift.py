"""SwiftF0: the default."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from ml.f0 import FRAMES_PER_SECOND, HOP, RATE, F0Track
from ml.f0.periodicity import repetition

VOICED_CONFIDENCE = 0.5
_NEAR_FRAMES, _LEAST_CONFIDENCE, _REPETITION = 8, 0.15, 0.65


def swift(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """SwiftF0 (a 131 kB network in its package): 16 ms frames, interpolated in log frequency to 10 ms.

    The network calls breathy and soft frames unvoiced (a fifth of those that FCPE hears as voiced, on read speech), so
    a frame that it doubts is voiced too when the signal repeats itself there at the pitch that is to be expected.
    """
    frames = 1 + len(samples) // HOP
    found = _detector().detect(samples, RATE, fmin=minimum_hz, fmax=maximum_hz)
    times = np.arange(frames) / FRAMES_PER_SECOND
    confidence = np.interp(times, found.timestamps, found.confidence)
    sure = found.confidence >= VOICED_CONFIDENCE
    if not sure.any():
        return F0Track(np.zeros(frames, np.float32), confidence.astype(np.float32))
    voiced = confidence >= VOICED_CONFIDENCE
    pitch = np.exp2(np.interp(times, found.timestamps[sure], np.log2(found.pitch_hz[sure])))
    distant = ~binary_dilation(voiced, iterations=_NEAR_FRAMES)
    pitch[distant] = np.exp2(np.interp(times[distant], found.timestamps, np.log2(found.pitch_hz)))
    doubtful = np.flatnonzero(~voiced & (~distant | (confidence >= _LEAST_CONFIDENCE)))
    voiced[doubtful[repetition(samples, doubtful, pitch[doubtful]) > _REPETITION]] = True
    return F0Track(np.where(voiced, pitch, 0).astype(np.float32), confidence.astype(np.float32))


@lru_cache(maxsize=1)
def _detector() -> Any:
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1, spin=False)
