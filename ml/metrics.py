"""How well a conversion did, by means that the engine carries itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, maximum_filter1d

Track = NDArray[np.float32]

SILENT_DB = -74.0
"""Level under which a source counts as silent: where a conversion has faded out altogether (docs/engine.md)."""

_SILENCE_MARGIN = 15  # frames of 10 ms: fades and filters may ring so long
_CLICK_RATIO = 6.0
_CLICK_FLOOR = 10 ** (-50 / 20)
_CLICK_WIDTH, _CLICK_REACH = 0.001, 0.025  # s: a click is shorter, and the lowest voice repeats itself within the reach


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


def cosine(first: Track, second: Track) -> float:
    """Cosine of two vectors (d,), -1..1; 0 when one of them is zero."""
    scale = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / scale if scale else 0.0


def length_error(frames: int, rate: int, source_frames: int, source_rate: int) -> int:
    """By how many samples a result of `frames` at `rate` hertz is longer (+) or shorter (-) than its source."""
    return frames - round(source_frames * rate / source_rate)


def silence_level(source: Track, result: Track) -> float | None:
    """The loudest level in dB of a result where its source is silent, both (T,) levels per 10 ms in dB.

    None when the source is nowhere below `SILENT_DB` for longer than 0.3 s.
    """
    count = min(len(source), len(result))
    silent = binary_erosion(source[:count] < SILENT_DB, np.ones(2 * _SILENCE_MARGIN + 1))
    return float(result[:count][silent].max()) if silent.any() else None


def clicks(samples: Track, rate: int) -> int:
    """How many clicks there are in mono `samples` (n,) in -1..1.

    A click is where the second difference is above -50 dB and six times as large as anywhere from 1 to 25 ms before
    and after it. As in the detectors of Godsill and Rayner (1998) it is what its neighbourhood does not predict; the
    neighbourhood is longer than a glottal period here, so that pulses of a low voice explain one another. Loud speech
    hides jumps from it, and a tongue or lips may make one: compare with the source's count.
    """
    bend = np.abs(np.diff(samples, 2))
    width, reach = max(1, round(_CLICK_WIDTH * rate)), round(_CLICK_REACH * rate)
    if len(bend) < 2 * (width + reach):
        return 0
    nearby = maximum_filter1d(bend, reach, mode="constant")
    shift = width + reach // 2
    around = np.maximum(np.pad(nearby, (shift, 0))[: len(bend)], np.pad(nearby, (0, shift))[shift:])
    found = np.flatnonzero(bend > np.maximum(_CLICK_RATIO * around, _CLICK_FLOOR))
    return int((np.diff(found, prepend=-rate) > width).sum())
