"""Less background noise in the recordings of the corpus: what their pauses sound like is taken out of the whole."""

from __future__ import annotations

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from ml.audio import Samples
from ml.config import FRAME_RATE

Array = NDArray[np.float32]

DEEPEST_DB = 24.0
_PAUSE_FRAMES = 20
_SHARE = 0.7  # of the pauses' power: taking out all of it, or more, was heard in the words by DNSMOS
_INERTIA = 0.96


class Denoiser:
    """Takes up to `strength` (0..1) times DEEPEST_DB out of the noise of pieces of one sound at `rate` hertz.

    A Wiener filter whose signal-to-noise ratio is followed from frame to frame, so that no tones are left over
    (Ephraim and Malah, 1984). A piece without a fifth of a second of pauses is taken to have the noise of the one
    before; where nothing is known of the noise, the sound stays as it is.
    """

    def __init__(self, rate: int, strength: float) -> None:
        hop = rate // FRAME_RATE
        size = 4 * hop
        self.floor = 10 ** (-strength * DEEPEST_DB / 20)
        self.transform = scipy.signal.ShortTimeFFT(np.hanning(size + 1)[:size], hop, rate)
        self.noise: NDArray[np.float64] | None = None

    def __call__(self, samples: Samples, quiet: NDArray[np.bool_]) -> Samples:
        """`samples` (N,) with less noise; the frames `quiet` (T,) are its pauses."""
        if self.floor == 1.0 or len(samples) < len(self.transform.win):
            return samples
        spectrum = self.transform.stft(samples)
        power = np.square(np.abs(spectrum))
        self._listen(power, quiet)
        if self.noise is None:
            return samples
        gain = _gain(power / np.maximum(_SHARE * self.noise[:, None], 1e-20), self.floor)
        return np.asarray(self.transform.istft(spectrum * gain, 0, len(samples)), np.float32)

    def _listen(self, power: NDArray[np.float64], quiet: NDArray[np.bool_]) -> None:
        # The transform's slices start before the first sample; slice `-p_min` is centred on frame 0.
        first = -self.transform.p_min
        heard = np.zeros(power.shape[1], bool)
        count = min(len(quiet), len(heard) - first)
        heard[first : first + count] = quiet[:count]
        if heard.sum() >= _PAUSE_FRAMES:
            self.noise = power[:, heard].mean(axis=1)


def _gain(ratio: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Wiener gains, `floor` to 1, for power over noise power, both (bins, T), by the decision-directed estimate."""
    gains = np.empty_like(ratio)
    before = np.ones(len(ratio))
    for index in range(ratio.shape[1]):
        prior = _INERTIA * before + (1 - _INERTIA) * np.maximum(ratio[:, index] - 1, 0)
        gain = np.maximum(prior / (1 + prior), floor)
        before = np.square(gain) * ratio[:, index]
        gains[:, index] = gain
    return gains
