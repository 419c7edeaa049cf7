"""Recursive filters as second-order sections, without scipy.signal: that takes half a second and 60 MiB to load.

Sections are rows (b0, b1, b2, 1, a1, a2), as scipy has them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtbsv

Sections = NDArray[np.float64]

_AT_ONCE = 8192


class Cascade:
    """A filter of sections (n, 6) on one signal that comes in parts; it begins in silence."""

    def __init__(self, sections: Sections) -> None:
        self._sections = sections
        self._heard, self._made = np.zeros((2, len(sections), 2))  # the last two samples into and out of each section

    def __call__(self, samples: NDArray[Any]) -> NDArray[np.float64]:
        """The next samples (n,), filtered."""
        out = np.array(samples, np.float64)
        for start in range(0, len(out), _AT_ONCE):
            part = out[start : start + _AT_ONCE]
            for index, (b0, b1, b2, _, a1, a2) in enumerate(self._sections):
                x = np.concatenate([self._heard[index], part])
                y = b0 * x[2:] + b1 * x[1:-1] + b2 * x[:-2]
                # What was made before goes over to the right side of y[n] + a1 y[n-1] + a2 y[n-2] = w[n], and then
                # that is a triangular system of equations with two bands under its diagonal.
                older, newer = self._made[index]
                y[:1] -= a1 * newer + a2 * older
                y[1:2] -= a2 * newer
                bands = np.empty((3, len(y)), order="F")
                bands[1], bands[2] = a1, a2
                part[:] = dtbsv(2, bands, y, lower=1, diag=1, overwrite_x=1)
                self._heard[index] = x[-2:]
                self._made[index] = np.concatenate([self._made[index], part])[-2:]
        return out


def high_pass(cut_hz: float, rate: int) -> Sections:
    """The Butterworth high-pass of second order at `cut_hz`."""
    k = math.tan(math.pi * cut_hz / rate)
    norm = 1 / (1 + math.sqrt(2) * k + k * k)
    return np.array([[norm, -2 * norm, norm, 1.0, 2 * (k * k - 1) * norm, (1 - math.sqrt(2) * k + k * k) * norm]])


def band_pass(order: int, low_hz: float, high_hz: float, rate: int) -> Sections:
    """The Butterworth band-pass of twice an even `order` between two frequencies: `order` sections."""
    low, high = (2 * rate * math.tan(math.pi * hz / rate) for hz in (low_hz, high_hz))
    prototype = np.exp(1j * np.pi * (2 * np.arange(order) + order + 1) / (2 * order))
    half = prototype * (high - low) / 2
    root = np.sqrt(half**2 - low * high)
    analogue = np.concatenate([half + root, half - root])
    poles = (2 * rate + analogue) / (2 * rate - analogue)
    gain = ((high - low) ** order * (2 * rate) ** order / np.prod(2 * rate - analogue)).real ** (1 / order)
    return np.array([[gain, 0.0, -gain, 1.0, -2 * pole.real, abs(pole) ** 2] for pole in poles if pole.imag > 0])
