"""Autocorrelation with a best path, as in Praat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.f0 import HOP, RATE, F0Track

_CANDIDATES = 6
_VOICING, _SILENCE, _OCTAVE, _JUMP, _CHANGE = 0.45, 0.03, 0.01, 0.35, 0.14


def pm(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """Autocorrelation of windowed frames over that of the window (Boersma, 1993), best path by Viterbi.

    Windows of three periods of `minimum_hz`; candidates' strengths and costs as in that paper: voicing threshold 0.45,
    silence threshold 0.03, octave cost 0.01, octave jump 0.35, voiced/unvoiced 0.14.
    """
    frames = 1 + len(samples) // HOP
    lags, strengths = _candidates(samples - samples.mean(), frames, minimum_hz, maximum_hz)
    with np.errstate(divide="ignore"):
        pitch = np.where(lags > 0, RATE / np.maximum(lags, 1e-9), 0.0)
    path = _best_path(pitch, strengths)
    rows = np.arange(frames)
    f0 = pitch[rows, path]
    confidence = np.where(f0 > 0, strengths[rows, path], 0.0)
    return F0Track(f0.astype(np.float32), np.clip(confidence, 0, 1).astype(np.float32))


def _candidates(
    samples: NDArray[np.float32], frames: int, minimum_hz: float, maximum_hz: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lags in samples and strengths, both (T, candidates); the first is "unvoiced", lag 0."""
    size = int(3 * RATE / minimum_hz)
    n_fft = 1 << (2 * size - 1).bit_length()
    window = np.hanning(size)
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, n_fft))))[: size // 2]
    own /= own[0]
    low, high = int(RATE / maximum_hz), min(int(RATE / minimum_hz), size // 2 - 2)
    padded = np.pad(samples.astype(np.float64), size)
    peak = max(float(np.abs(samples).max(initial=0.0)), 1e-9)
    lags, strengths = np.zeros((frames, _CANDIDATES)), np.full((frames, _CANDIDATES), -1.0)
    for start in range(0, frames, 500):
        centres = np.arange(start, min(start + 500, frames)) * (HOP) + size
        pieces = padded[np.minimum(centres[:, None] + np.arange(-(size // 2), size - size // 2), len(padded) - 1)]
        pieces = pieces - pieces.mean(axis=1, keepdims=True)
        local = np.abs(pieces).max(axis=1)
        correlation = np.fft.irfft(np.square(np.abs(np.fft.rfft(pieces * window, n_fft))))[:, : size // 2]
        correlation = correlation / np.maximum(correlation[:, :1], 1e-12) / own
        rows = slice(start, start + len(centres))
        strengths[rows, 0] = _VOICING + np.maximum(0.0, 2 - (local / peak) / (_SILENCE / (1 + _VOICING)))
        found, heights = _peaks(correlation, low, high)
        count = found.shape[1]
        lags[rows, 1 : 1 + count] = found
        strengths[rows, 1 : 1 + count] = heights - _OCTAVE * np.log2(np.maximum(minimum_hz * found / RATE, 1e-6))
    strengths[:, 1:][lags[:, 1:] == 0] = -1e3
    return lags, strengths


def _peaks(correlation: NDArray[np.float64], low: int, high: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The highest local maxima between lags `low` and `high`, by parabolas: lags and heights, 0 where there is none."""
    before, here, after = (correlation[:, low + shift : high + shift] for shift in (-1, 0, 1))
    top = np.where((here > before) & (here >= after), here, -np.inf)
    best = np.argsort(-top, axis=1)[:, : _CANDIDATES - 1]
    rows = np.arange(len(here))[:, None]
    a, b, c = before[rows, best], here[rows, best], after[rows, best]
    bend = a - 2 * b + c
    shift = np.where(np.abs(bend) > 1e-12, 0.5 * (a - c) / np.where(np.abs(bend) > 1e-12, bend, 1.0), 0.0)
    there = np.isfinite(top[rows, best])
    return np.where(there, best + low + shift, 0.0), np.where(there, b - 0.25 * (a - c) * shift, 0.0)


def _best_path(pitch: NDArray[np.float64], strengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """The candidate of each frame (T,) that makes strengths less costs of change greatest (Viterbi)."""
    frames, count = pitch.shape
    # Costs are given for frames of 10 ms, which ours are.
    back = np.zeros((frames, count), np.int64)
    total = strengths[0].copy()
    for index in range(1, frames):
        one, two = pitch[index - 1][:, None], pitch[index][None]
        jump = _JUMP * np.abs(np.log2(np.maximum(one, 1.0) / np.maximum(two, 1.0)))
        cost = np.where((one > 0) & (two > 0), jump, np.where((one > 0) != (two > 0), _CHANGE, 0.0))
        options = total[:, None] - cost
        back[index] = options.argmax(axis=0)
        total = options.max(axis=0) + strengths[index]
    path = np.zeros(frames, np.int64)
    path[-1] = int(total.argmax())
    for index in range(frames - 1, 0, -1):
        path[index - 1] = back[index, path[index]]
    return path
