"""Programme loudness after ITU-R BS.1770-4, computed block by block in constant memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ml.filters import Cascade

Samples = NDArray[np.float32]

ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
_OFFSET = -0.691


def k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """Second-order sections (2, 6) of the K-weighting filter at any rate.

    The standard tabulates 48 kHz only; the analogue prototypes behind that table (a high shelf of +4 dB at
    1682 Hz and a high-pass at 38 Hz) are those of B. De Man, "Evaluation of implementations of the EBU R128
    loudness measurement", AES 145 (2018).
    """
    gain, quality, centre = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k = np.tan(np.pi * centre / sample_rate)
    high = 10 ** (gain / 20)
    band = high**0.4996667741545416
    a0 = 1 + k / quality + k * k
    shelf = [
        (high + band * k / quality + k * k) / a0,
        2 * (k * k - high) / a0,
        (high - band * k / quality + k * k) / a0,
        1.0,
        2 * (k * k - 1) / a0,
        (1 - k / quality + k * k) / a0,
    ]
    quality, centre = 0.5003270373238773, 38.13547087602444
    k = np.tan(np.pi * centre / sample_rate)
    a0 = 1 + k / quality + k * k
    return np.array([shelf, [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0]])


def integrated(blocks: Iterable[Samples], sample_rate: int) -> float:
    """Integrated loudness in LUFS of a mono signal given as successive blocks (n,).

    Blocks of 400 ms every 100 ms, gated at -70 LUFS and at 10 LU under the mean of what is left. Returns
    `-inf` when nothing passes the gates (silence, or less than 400 ms).
    """
    weighted = Cascade(k_weighting(sample_rate))
    step = sample_rate // 10
    energies: list[NDArray[np.float64]] = []
    rest = np.zeros(0)
    for block in blocks:
        rest = np.concatenate([rest, weighted(block)])
        whole = len(rest) // step
        energies.append(np.square(rest[: whole * step].reshape(whole, step)).mean(axis=1))
        rest = rest[whole * step :]
    tenths = np.concatenate(energies) if energies else np.zeros(0)
    if len(tenths) < 4:
        return float("-inf")
    power = np.convolve(tenths, np.full(4, 0.25), mode="valid")
    return _gated(power)


def _gated(power: NDArray[np.float64]) -> float:
    def level(values: NDArray[np.float64]) -> float:
        return float(_OFFSET + 10 * np.log10(values.mean())) if len(values) else float("-inf")

    loud = power[power > 10 ** ((ABSOLUTE_GATE - _OFFSET) / 10)]
    if not len(loud):
        return float("-inf")
    gate = level(loud) + RELATIVE_GATE
    return level(loud[loud > 10 ** ((gate - _OFFSET) / 10)])
