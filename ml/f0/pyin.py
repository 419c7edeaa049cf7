"""Probabilistic YIN."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from ml.f0 import HOP, RATE, F0Track


def pyin(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """Probabilistic YIN (Mauch and Dixon, 2014), as librosa has it."""
    pitch, _, chance = librosa.pyin(
        samples, fmin=minimum_hz, fmax=maximum_hz, sr=RATE, frame_length=1024, hop_length=HOP
    )
    return F0Track(np.nan_to_num(pitch).astype(np.float32), np.asarray(chance, np.float32))
