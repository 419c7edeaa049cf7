"""How well a conversion did, by means that the engine carries itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Track = NDArray[np.float32]


def contour_agreement(wanted: Track, got: Track) -> tuple[float, float]:
    """Pearson correlation of log-f0 and RMSE in cents, over frames that are voiced in both tracks (T,) in Hz.

    The correlation of a wanted contour without movement is 1 when the RMSE is under 50 cents, else 0. With fewer
    than 10 frames in common it is (0, 1200): nothing agrees.
    """
    both = (wanted > 0) & (got > 0)
    if both.sum() < 10:
        return 0.0, 1200.0
    first, second = 1200 * np.log2(wanted[both]), 1200 * np.log2(got[both])
    cents = float(np.sqrt(np.square(first - second).mean()))
    if first.std() < 1.0 or second.std() < 1.0:
        return float(cents < 50.0), cents
    return float(np.corrcoef(first, second)[0, 1]), cents


def voicing_error(wanted: Track, got: Track) -> float:
    """The share of frames, 0..1, where one track is voiced and the other is not."""
    return float(((wanted > 0) != (got > 0)).mean()) if len(wanted) else 0.0


def cosine(first: Track, second: Track) -> float:
    """Cosine of two vectors (d,), -1..1; 0 when one of them is zero."""
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale else 0.0
