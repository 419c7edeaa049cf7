"""Editing a pitch track before it is rendered: transposed, smoothed, tuned to a scale.

Tracks are (T,) in Hz at FRAME_RATE, 0 where unvoiced. No edit makes a frame voiced or unvoiced; what depends on
neighbours stays within a voiced stretch.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from ml.catalog import SCALES
from ml.config import FRAME_RATE

Array = NDArray[np.float32]
Cents = NDArray[np.float64]

LOWEST_HZ, HIGHEST_HZ = 40.0, 1600.0
_C0_HZ = 440.0 * 2.0 ** (-57 / 12)
_LISTENING_MS = 60.0  # which note is meant is asked of the pitch without its vibrato
_HYSTERESIS_CENTS = 15.0
_LEAST_MS = 1.0  # a tenth of a frame: a filter as short as that does nothing to its neighbours


def transpose(track: Array, semitones: float) -> Array:
    """The track moved by `semitones`, held within LOWEST_HZ and HIGHEST_HZ."""
    return _within(track * 2.0 ** (semitones / 12), track)


def smooth(track: Array, milliseconds: float) -> Array:
    """The track's log pitch after a zero-phase Gaussian filter with a standard deviation of `milliseconds` (>= 0).

    A vibrato of f Hz keeps exp(-2 (pi f s)^2) of its width, s in seconds: at 6 Hz 93 % by 10 ms, 53 % by 30 ms, next
    to nothing by 100 ms. Each stretch is mirrored at its ends, so its mean in cents stays.
    """
    if milliseconds < _LEAST_MS:
        return track
    edited = track.copy()
    for stretch in _stretches(track):
        edited[stretch] = _hertz(_filtered(_cents(track[stretch]), milliseconds))
    return edited


def tune(track: Array, scale: str, strength: float, retune_ms: float) -> Array:
    """The track moved by `strength` (0..1) of its distance to the notes of `scale`, a key of SCALES (else KeyError).

    Notes are those of equal temperament with A4 = 440 Hz; a pitch between two of them belongs to the nearer one, and
    to the one before until it is 15 cents past the middle. The correction passes a zero-phase Gaussian filter with a
    standard deviation of `retune_ms` (>= 0): at 0 every frame lies on its note and vibrato is gone; the longer it is,
    the more glides and vibrato stay while the note's middle still lies where it should.
    """
    if strength <= 0.0:
        return track
    edited = track.copy()
    for stretch in _stretches(track):
        pitch = _cents(track[stretch])
        correction = _notes(_filtered(pitch, _LISTENING_MS), SCALES[scale]) - pitch
        edited[stretch] = _hertz(pitch + strength * _filtered(correction, retune_ms))
    return _within(edited, track)


def _within(edited: NDArray[np.floating], track: Array) -> Array:
    return np.asarray(np.where(track > 0, np.clip(edited, LOWEST_HZ, HIGHEST_HZ), 0.0), np.float32)


def _stretches(track: Array) -> Iterator[slice]:
    """The voiced stretches of a track."""
    edges = np.flatnonzero(np.diff((track > 0).astype(np.int8), prepend=0, append=0))
    return (slice(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True))


def _cents(hertz: Array) -> Cents:
    return 1200.0 * np.log2(hertz.astype(np.float64) / _C0_HZ)


def _hertz(cents: Cents) -> Array:
    return np.asarray(_C0_HZ * np.exp2(cents / 1200.0), np.float32)


def _filtered(values: Cents, milliseconds: float) -> Cents:
    if milliseconds < _LEAST_MS:
        return values
    return np.asarray(gaussian_filter1d(values, milliseconds * FRAME_RATE / 1000, mode="reflect"))


def _notes(pitch: Cents, classes: tuple[int, ...]) -> Cents:
    """The note in cents above C0 that each frame of one voiced stretch belongs to."""
    allowed = np.array([100.0 * (12 * octave + one) for octave in range(-1, 9) for one in classes])
    after = np.clip(np.searchsorted(allowed, pitch), 1, len(allowed) - 1)
    lower, upper = allowed[after - 1], allowed[after]
    nearest = np.where(pitch - lower <= upper - pitch, lower, upper)
    notes = nearest.copy()
    for index in range(1, len(notes)):
        held = notes[index - 1]
        if abs(pitch[index] - held) <= abs(pitch[index] - nearest[index]) + 2 * _HYSTERESIS_CENTS:
            notes[index] = held
    return notes
