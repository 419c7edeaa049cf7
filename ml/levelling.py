"""A result that is as loud, from frame to frame, as its source was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.audio import Samples, resample
from ml.config import ANALYSIS_RATE
from ml.device import on_device, to_array
from ml.spectral import loudness

Array = NDArray[np.float32]

FURTHEST_DB = 12.0
_WINDOW = np.hanning(7)[1:-1] / np.hanning(7).sum()  # 50 ms: no longer than a consonant


def levelled(samples: Samples, rate: int, wanted: Array, share: Array) -> Samples:
    """`samples` (n,) at `rate` hertz with each frame moved by `share` (T,), 0..1, of the way to `wanted` (T,).

    `wanted` is A-weighted loudness in dB, T = 1 + n // hop; no frame moves by more than FURTHEST_DB either way. Only
    the five frames around it matter to a frame, so pieces of one sound that overlap agree.
    """
    if not share.any():
        return samples
    present = to_array(loudness(on_device(resample(samples, rate, ANALYSIS_RATE))[None])[0])
    move = share * np.clip(wanted - present[: len(wanted)], -FURTHEST_DB, FURTHEST_DB)
    move = np.convolve(np.pad(move, 2, mode="edge"), _WINDOW, mode="valid")
    times = np.arange(len(samples)) * ((len(wanted) - 1) / max(len(samples), 1))
    decibels = np.interp(times, np.arange(len(wanted)), move)
    return np.asarray(samples * 10.0 ** (decibels / 20), np.float32)
