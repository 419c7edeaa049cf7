"""Another sample rate for a stream, with a delay of a few milliseconds that is exactly known."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_ZERO_CROSSINGS = 40
_KAISER_BETA = 7.0  # 70 dB; with 40 zero crossings on a side the transition takes a ninth of the band
_PASSED = 0.96


class StreamResampler:
    """Windowed-sinc interpolation (Smith, 1984) from `rate` to `wanted` hertz, without phase or shift.

    Output sample m lies at m / wanted seconds and is computed as soon as the `reach` input samples after it are there.
    Equal rates pass through without any delay.
    """

    def __init__(self, rate: int, wanted: int) -> None:
        divisor = math.gcd(rate, wanted)
        self._up, self._down = wanted // divisor, rate // divisor
        narrow = min(1.0, wanted / rate)
        self.reach = 0 if rate == wanted else math.ceil(_ZERO_CROSSINGS / narrow)
        self._kernels = _kernels(self._up, self.reach, narrow)
        self._held = np.zeros(self.reach, np.float32)
        self._first = -self.reach  # the input sample that `_held` starts with
        self._made = 0

    def inputs_for(self, outputs: int) -> int:
        """How many input samples must have come in, counted from the beginning, for so many to come out."""
        return (outputs - 1) * self._down // self._up + self.reach + 1 if outputs > 0 else 0

    def __call__(self, samples: Samples) -> Samples:
        """The next input samples (n,) -> all output samples that can be computed now."""
        if not self.reach:
            return samples
        held = np.concatenate([self._held, samples])
        known = self._first + len(held) - self.reach  # outputs must lie before this input sample
        until = max(self._made, -(-known * self._up // self._down))
        positions = np.arange(self._made, until, dtype=np.int64) * self._down
        start = positions // self._up - self.reach - self._first
        made = np.zeros(0, np.float32)
        if len(start):
            taps = np.lib.stride_tricks.sliding_window_view(held, self._kernels.shape[1])[start]
            kernels = self._kernels if self._up == 1 else self._kernels[positions % self._up]
            made = np.einsum("nt,nt->n", taps, kernels)
        self._made = until
        keep = max(0, until * self._down // self._up - self.reach - self._first)
        self._held, self._first = held[keep:], self._first + keep
        return made


@lru_cache(maxsize=8)
def _kernels(phases: int, reach: int, narrow: float) -> Samples:
    """Interpolation kernels (phases, 2 * reach + 1): row p is for outputs p / phases after an input sample."""
    shift = np.arange(phases)[:, None] / phases
    distance = np.arange(-reach, reach + 1)[None] - shift
    cut = narrow * _PASSED
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (distance / (reach + 1)) ** 2))) / np.i0(_KAISER_BETA)
    kernels = cut * np.sinc(cut * distance) * window
    return np.asarray(kernels / kernels.sum(axis=1, keepdims=True), np.float32)
