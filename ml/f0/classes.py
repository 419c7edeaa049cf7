"""Pitch as classes of 20 cents, which is what the networks of CREPE and FCPE put out: from activations to hertz."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ml.f0 import F0Track

_REACH = 4
_WIDEST_STEP, _JUMP_LOG_CHANCE = 12, -9.0


def within(
    activation: NDArray[np.float32], cents: NDArray[np.float64], minimum_hz: float, maximum_hz: float
) -> NDArray[np.float32]:
    """The activations (T, C), 0..1, with those of classes outside the bounds set to 0; `cents` (C,) above 10 Hz."""
    hertz = hertz_of(cents)
    inside = (hertz >= minimum_hz) & (hertz <= maximum_hz)
    return np.where(inside, activation, 0).astype(np.float32)


def hertz_of(cents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hertz of cents above 10 Hz."""
    return np.asarray(10.0 * np.exp2(cents / 1200.0), np.float64)


def smoothest(activation: NDArray[np.float32]) -> NDArray[np.int64]:
    """The most likely class of each frame (T,), by Viterbi, of activations (T, C).

    Steps of up to 12 classes have the triangular chances of CREPE's own decoder; any wider step has one chance, so
    that a pause or a leap does not bend the path.
    """
    frames, count = activation.shape
    steps = np.arange(1 - _WIDEST_STEP, _WIDEST_STEP)
    step_chances = np.log((_WIDEST_STEP - np.abs(steps)) / _WIDEST_STEP**2)
    chances = np.log(activation / np.maximum(activation.sum(axis=1, keepdims=True), 1e-9) + 1e-6)
    back = np.zeros((frames, count), np.int64)
    total = chances[0].astype(np.float64)
    classes = np.arange(count)
    for index in range(1, frames):
        padded = np.pad(total, _WIDEST_STEP - 1, constant_values=-np.inf)
        ways = np.lib.stride_tricks.sliding_window_view(padded, len(steps)) + step_chances
        step = ways.argmax(axis=1)
        near, far = ways[classes, step], total.max() + _JUMP_LOG_CHANCE
        back[index] = np.where(near >= far, classes + steps[step], total.argmax())
        total = np.maximum(near, far) + chances[index]
    path = np.zeros(frames, np.int64)
    path[-1] = int(total.argmax())
    for index in range(frames - 1, 0, -1):
        path[index - 1] = back[index, path[index]]
    return path


def track(
    activation: NDArray[np.float32], best: NDArray[np.int64], cents: NDArray[np.float64], voiced: float
) -> F0Track:
    """Mean pitch of the nine classes about `best` (T,), weighted by activations (T, C); confidence is the best one's.

    Frames whose confidence is not above `voiced` are unvoiced.
    """
    about = np.clip(best[:, None] + np.arange(-_REACH, _REACH + 1), 0, len(cents) - 1)
    weights = np.take_along_axis(activation, about, axis=1).astype(np.float64)
    mean = (weights * cents[about]).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)
    confidence = np.take_along_axis(activation, best[:, None], axis=1)[:, 0]
    return F0Track(np.where(confidence > voiced, hertz_of(mean), 0).astype(np.float32), np.clip(confidence, 0, 1))
