"""Pitch at 100 frames per second: one function per method, all with the same signature."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.signal import butter, sosfilt

from ml.catalog import F0_METHODS

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

    `method` is a key of `ml.catalog.F0_METHODS`; raises KeyError for any other.
    """
    track: F0Track = F0_METHODS[method].load()(samples, sample_rate, minimum_hz, maximum_hz)
    return track


def swift(samples: NDArray[np.float32], sample_rate: int, minimum_hz: float, maximum_hz: float) -> F0Track:
    """SwiftF0 (a 131 kB network in its package): 16 ms frames, interpolated in log frequency to 10 ms.

    The network calls breathy and soft frames unvoiced (a fifth of those that FCPE hears as voiced, on read speech), so
    a frame that it doubts is voiced too when the signal repeats itself there at the pitch that is to be expected.
    """
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
    voiced = confidence >= VOICED_CONFIDENCE
    pitch = np.exp2(np.interp(times, found.timestamps[sure], np.log2(found.pitch_hz[sure])))
    distant = ~binary_dilation(voiced, iterations=_NEAR_FRAMES)
    pitch[distant] = np.exp2(np.interp(times[distant], found.timestamps, np.log2(found.pitch_hz)))
    doubtful = np.flatnonzero(~voiced & (~distant | (confidence >= _LEAST_CONFIDENCE)))
    voiced[doubtful[_repeats(samples, doubtful, pitch[doubtful]) > _REPETITION]] = True
    return F0Track(np.where(voiced, pitch, 0).astype(np.float32), confidence.astype(np.float32))


_NEAR_FRAMES, _LEAST_CONFIDENCE, _REPETITION = 8, 0.15, 0.65
_LOW_RATE = 8_000


def _repeats(
    samples: NDArray[np.float32], frames: NDArray[np.int64], pitch: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How alike two stretches of 30 ms, one period apart around each frame, are: the highest correlation, -1..1.

    Below 1.2 kHz, where a breathy voice is periodic, and for periods from 3 % shorter to 3 % longer.
    """
    best = np.full(len(frames), -1.0)
    low = soxr.resample(samples, SWIFT_RATE, _LOW_RATE)
    band = butter(4, [60, 1200], "bandpass", fs=_LOW_RATE, output="sos")
    low = np.pad(sosfilt(band, low).astype(np.float32), _LOW_RATE // 8)
    window = np.arange(-120, 120)
    for start in range(0, len(frames), 2000):
        piece = slice(start, start + 2000)
        # A causal filter delays the band by about a millisecond, which does not matter over 30 ms.
        centres = frames[piece] * (_LOW_RATE // FRAMES_PER_SECOND) + _LOW_RATE // 8
        for stretch in (0.97, 1.0, 1.03):
            period = np.round(_LOW_RATE / (pitch[piece] * stretch)).astype(int)
            first = np.clip(centres - period // 2, 120, len(low) - 121 - period)
            one, two = low[first[:, None] + window], low[(first + period)[:, None] + window]
            energy = np.einsum("ij,ij->i", one, one) * np.einsum("ij,ij->i", two, two)
            likeness = np.einsum("ij,ij->i", one, two) / np.sqrt(energy + 1e-12)
            best[piece] = np.maximum(best[piece], likeness)
    return best


@lru_cache(maxsize=1)
def _detector() -> Any:
    from swift_f0 import SwiftF0

    return SwiftF0(threads=1, spin=False)


def pm(samples: NDArray[np.float32], sample_rate: int, minimum_hz: float, maximum_hz: float) -> F0Track:
    """Autocorrelation of windowed frames over that of the window (Boersma, 1993), best path by Viterbi.

    Windows of three periods of `minimum_hz`; candidates' strengths and costs as in that paper: voicing threshold 0.45,
    silence threshold 0.03, octave cost 0.01, octave jump 0.35, voiced/unvoiced 0.14.
    """
    frames = 1 + len(samples) * FRAMES_PER_SECOND // sample_rate
    if sample_rate != SWIFT_RATE:
        samples = soxr.resample(samples, sample_rate, SWIFT_RATE)
    lags, strengths = _candidates(samples - samples.mean() if len(samples) else samples, frames, minimum_hz, maximum_hz)
    with np.errstate(divide="ignore"):
        pitch = np.where(lags > 0, SWIFT_RATE / np.maximum(lags, 1e-9), 0.0)
    path = _best_path(pitch, strengths)
    rows = np.arange(frames)
    f0 = pitch[rows, path]
    confidence = np.where(f0 > 0, strengths[rows, path], 0.0)
    return F0Track(f0.astype(np.float32), np.clip(confidence, 0, 1).astype(np.float32))


_CANDIDATES = 6
_VOICING, _SILENCE, _OCTAVE, _JUMP, _CHANGE = 0.45, 0.03, 0.01, 0.35, 0.14


def _candidates(
    samples: NDArray[np.float32], frames: int, minimum_hz: float, maximum_hz: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lags in samples and strengths, both (T, candidates); the first is "unvoiced", lag 0."""
    size = int(3 * SWIFT_RATE / minimum_hz)
    n_fft = 1 << (2 * size - 1).bit_length()
    window = np.hanning(size)
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, n_fft))))[: size // 2]
    own /= own[0]
    low, high = int(SWIFT_RATE / maximum_hz), min(int(SWIFT_RATE / minimum_hz), size // 2 - 2)
    padded = np.pad(samples.astype(np.float64), size)
    peak = max(float(np.abs(samples).max(initial=0.0)), 1e-9)
    lags, strengths = np.zeros((frames, _CANDIDATES)), np.full((frames, _CANDIDATES), -1.0)
    for start in range(0, frames, 500):
        centres = np.arange(start, min(start + 500, frames)) * (SWIFT_RATE // FRAMES_PER_SECOND) + size
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
        strengths[rows, 1 : 1 + count] = heights - _OCTAVE * np.log2(np.maximum(minimum_hz * found / SWIFT_RATE, 1e-6))
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


def pyin(samples: NDArray[np.float32], sample_rate: int, minimum_hz: float, maximum_hz: float) -> F0Track:
    """Probabilistic YIN (Mauch and Dixon, 2014), as librosa has it; about twenty times as slow as `swift`."""
    import librosa

    frames = 1 + len(samples) * FRAMES_PER_SECOND // sample_rate
    if sample_rate != SWIFT_RATE:
        samples = soxr.resample(samples, sample_rate, SWIFT_RATE)
    if not np.abs(samples).max(initial=0.0) > 0:
        return F0Track(np.zeros(frames, np.float32), np.zeros(frames, np.float32))
    pitch, _, chance = librosa.pyin(
        samples,
        fmin=minimum_hz,
        fmax=maximum_hz,
        sr=SWIFT_RATE,
        frame_length=1024,
        hop_length=SWIFT_RATE // FRAMES_PER_SECOND,
    )
    f0 = np.zeros(frames, np.float32)
    confidence = np.zeros(frames, np.float32)
    known = min(frames, len(pitch))
    f0[:known], confidence[:known] = np.nan_to_num(pitch)[:known], chance[:known]
    return F0Track(f0, confidence)
