"""The decoder's source and filter on a stream: phase, noise and overlap-add are carried from hop to hop."""

from __future__ import annotations

import torch
from torch import Tensor

from ml.config import FRAME_RATE, ModelConfig
from ml.decoder import PULSE_REACH, Gains, fft_size, pulses_with_tails, responses
from ml.device import on_device
from ml.spectral import hann

LEAD_FRAMES = 4
"""Frames after the new ones whose f0 the excitation needs, because a window reaches over its frame."""


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
        self._phase = torch.zeros(1, dtype=torch.float64)
        # Two rows, pulses and noise; what one call makes new ends where its last frame's window does.
        self._span = (hop - 1) * self._step + self._size
        self._source = torch.zeros(2, self._span + PULSE_REACH)
        self._sum = torch.zeros(self._span)
        self._scale = self._overlap().reciprocal()

    def __call__(self, gains: Gains, f0: Tensor) -> Tensor:
        """Gains (1, hop, bands) and f0 in Hz (hop + LEAD_FRAMES,), 0 where unvoiced -> (hop * samples per frame,)."""
        self._excite(f0)
        frames = self._source[:, : self._span].unfold(1, self._size, self._step)
        spectrum = torch.fft.rfft(frames * self._window)
        harmonic, turbulent = responses(gains, self._rate, self._config, self._bandwidth_hz)
        shaped = torch.fft.irfft(spectrum[0] * harmonic[0] + spectrum[1] * turbulent[0], n=self._size) * self._window
        fresh = self._hop * self._step
        self._sum = torch.cat([self._sum[fresh:], torch.zeros(fresh)])
        for index, frame in enumerate(shaped):
            self._sum[index * self._step : index * self._step + self._size] += frame
        return self._sum[:fresh] * self._scale

    def _excite(self, f0: Tensor) -> None:
        """Appends one hop of pulses and noise to the source."""
        fresh = self._hop * self._step
        # Relative to the first new frame, the source so far ends with the window of the frame before.
        train, self._phase = pulses_with_tails(f0[None], self._rate, fresh, self._phase, self._size // 2 - self._step)
        self._source = torch.cat([self._source[:, fresh:], torch.zeros(2, fresh)], dim=1)
        self._source[0, -len(train[0]) :] += train[0]
        white = on_device(torch.randn(fresh, generator=self._generator, device="cpu"))
        self._source[1, self._span - fresh : self._span] = white

    def _overlap(self) -> Tensor:
        """The sum of squared windows over one hop's samples, which repeats with every frame."""
        count = self._hop + 2 * (self._size // self._step + 1)
        total = torch.zeros((count - 1) * self._step + self._size)
        for index in range(count):
            total[index * self._step : index * self._step + self._size] += self._window.square()
        start = (self._size // self._step + 1) * self._step
        return total[start : start + self._hop * self._step]
