"""The decoder's source and filter on a stream: phase, noise and overlap-add are carried from hop to hop."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.config import FRAME_RATE, ModelConfig
from ml.decoder import PULSE_REACH, Gains, fft_size, responses
from ml.device import on_device, to_array
from ml.spectral import hann

LEAD_FRAMES = 4
"""Frames after the new ones whose f0 the excitation needs, because a window reaches over its frame."""
_TAPS = np.arange(-PULSE_REACH, PULSE_REACH + 1)


class SynthesisStream:
    """`ml.decoder.synthesise` in hops of `hop` frames at `sample_rate`, for one voice.

    Sound comes out half a window (`delay` samples) late: the first sample of the first call lies that much before the
    first frame. The same `seed` gives the same noise.
    """

    def __init__(
        self, sample_rate: int, hop: int, config: ModelConfig, bandwidth_hz: float | None = None, seed: int = 0
    ) -> None:
        self._rate, self._hop, self._config, self._bandwidth_hz = sample_rate, hop, config, bandwidth_hz
        self._size, self._step = fft_size(sample_rate), sample_rate // FRAME_RATE
        self.delay = self._size // 2
        self._window = hann(self._size)
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._phase = 0.0
        # Two rows, pulses and noise; what one call makes new ends where its last frame's window does.
        self._fresh = hop * self._step
        self._span = (hop - 1) * self._step + self._size
        self._source = np.zeros((2, self._span + PULSE_REACH), np.float32)
        self._sum = np.zeros(self._span, np.float32)
        self._scale = to_array(self._overlap().reciprocal())
        # Relative to the first new frame, the source so far ends with the window of the frame before.
        self._places = _places(self._size // 2 - self._step, self._fresh, hop + LEAD_FRAMES, self._step)

    def __call__(self, gains: Gains, f0: NDArray[np.float32]) -> NDArray[np.float32]:
        """Gains (1, hop, bands) and f0 in Hz (hop + LEAD_FRAMES,), 0 where unvoiced -> (hop * samples per frame,)."""
        spectrum = torch.fft.rfft(on_device(self._excited(f0)) * self._window)
        harmonic, turbulent = responses(gains, self._rate, self._config, self._bandwidth_hz)
        shaped = torch.fft.irfft(spectrum[0] * harmonic[0] + spectrum[1] * turbulent[0], n=self._size) * self._window
        self._sum = _moved_on(self._sum, self._fresh)
        for index, frame in enumerate(to_array(shaped)):
            self._sum[index * self._step : index * self._step + self._size] += frame
        return self._sum[: self._fresh] * self._scale

    def _excited(self, f0: NDArray[np.float32]) -> NDArray[np.float32]:
        """The frames (2, hop, size) of one hop more of pulses and noise."""
        self._source = _moved_on(self._source, self._fresh)
        self._pulses(self._source[0, -self._fresh - 2 * PULSE_REACH :], f0.astype(np.float64))
        white = torch.randn(self._fresh, generator=self._generator, device="cpu")
        self._source[1, self._span - self._fresh : self._span] = white.numpy()
        frames = np.lib.stride_tricks.sliding_window_view(self._source, self._size, axis=1, writeable=True)
        return frames[:, : self._span - self._size + 1 : self._step]

    def _pulses(self, train: NDArray[np.float32], pitch: NDArray[np.float64]) -> None:
        """Adds `ml.decoder.pulses` to `train`, which holds PULSE_REACH samples more on both sides. In numpy: on so
        little most of torch's time goes into its calls."""
        left, right, nearest, share = self._places
        first, second = pitch[left], pitch[right]
        first, second = np.where(first > 0, first, second), np.where(second > 0, second, first)
        step = (first + (second - first) * share) / self._rate
        cycles = self._phase + step.cumsum()
        whole = np.floor(cycles)
        hit = np.flatnonzero((np.diff(whole, prepend=math.floor(self._phase)) > 0) & (pitch[nearest] > 0))
        self._phase = float(cycles[-1] % 1.0)
        late = ((cycles[hit] - whole[hit]) / step[hit]).astype(np.float32)
        height = 1 / np.sqrt(step[hit].astype(np.float32))
        distance = _TAPS.astype(np.float32) + late[:, None]
        shape = np.sinc(distance) * (0.5 + 0.5 * np.cos(np.float32(math.pi / (PULSE_REACH + 1)) * distance)).clip(0)
        np.add.at(train, hit[:, None] + (PULSE_REACH + _TAPS), shape * height[:, None])

    def _overlap(self) -> Tensor:
        """The sum of squared windows over one hop's samples, which repeats with every frame."""
        count = self._hop + 2 * (self._size // self._step + 1)
        total = torch.zeros((count - 1) * self._step + self._size)
        for index in range(count):
            total[index * self._step : index * self._step + self._size] += self._window.square()
        start = (self._size // self._step + 1) * self._step
        return total[start : start + self._hop * self._step]


def _moved_on(values: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The last axis without its first `count`, and as many zeros after it."""
    moved = np.zeros_like(values)
    moved[..., :-count] = values[..., count:]
    return moved


def _places(
    offset: int, length: int, frames: int, step: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For samples from `offset` on: the frames to their left and right, the nearer, and how near the right one is."""
    position = np.arange(offset, offset + length) / step
    left = np.minimum(position.astype(np.int64), frames - 1)
    right = np.minimum(left + 1, frames - 1)
    share = np.clip(position - left, 0, 1)
    return left, right, np.where(share < 0.5, left, right), share
