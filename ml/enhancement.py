"""Less noise and less room: a network that says for every bin of a spectrum how much of it is the voice."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.audio import Samples, resample
from ml.config import ANALYSIS_RATE, FRAME_RATE, ModelConfig
from ml.convnext import ConvNeXtBlock, fast_precision
from ml.device import on_device, to_array
from ml.spectral import hann, power

WINDOW_SECONDS = 0.032
DEEPEST_DB = 36.0
_HELD_FROM_HZ = 6000.0


class Enhancer(nn.Module):
    """Power spectrum (B, T, bins) at ANALYSIS_RATE -> gains (B, T, bins) in 0..1. Each frame depends on
    those up to 63 frames before and after it.

    A mask on the short-time spectrum (Wang and Chen, 2018, survey the family), estimated by ConvNeXt blocks. Levels
    are taken relative to the recording's loud frames, so that how loud it is does not matter.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = config.enhancer
        self.config = config
        bins = sizes.n_fft // 2 + 1
        self.enter = nn.Linear(bins, sizes.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(sizes.width, sizes.expansion, sizes.kernel, dilation) for dilation in sizes.dilations
        )
        self.norm = nn.LayerNorm(sizes.width)
        self.leave = nn.Linear(sizes.width, bins)
        with torch.no_grad():
            self.leave.bias.fill_(2.0)

    def forward(self, spectrum: Tensor, loud: Tensor) -> Tensor:
        """`loud` (B,): mean square of the loud frames, as `loud_power` finds it."""
        # By Parseval's theorem a bin of a frame of mean square 1 has n_fft * 3/8, Hann's mean square, on average.
        relative = 0.5 * torch.log(spectrum / (loud[:, None, None] * self.config.enhancer.n_fft * 0.375) + 1.5e-8)
        x = self.enter((relative + 3.0) / 2.0)
        for block in self.blocks:
            x = block(x)
        return torch.sigmoid(self.leave(self.norm(x)).float())


def loud_power(levels: NDArray[np.float32]) -> float:
    """Mean square of the loudest tenth of frames whose levels (T,) in dB are given; full scale is 1."""
    count = max(1, len(levels) // 10)
    return float(np.mean(10.0 ** (np.partition(levels, -count)[-count:] / 10.0)))


@torch.inference_mode()
def enhanced(network: Enhancer, samples: Samples, rate: int, strength: float, loud: float) -> Samples:
    """`samples` (n,) at `rate`, a multiple of FRAME_RATE, with what is not the voice lowered by up to `strength`
    (0..1) times DEEPEST_DB.

    `loud` is the `loud_power` of the recording that they are from. Silence stays silence.
    """
    if strength <= 0.0 or not len(samples):
        return samples
    heard = on_device(resample(samples, rate, ANALYSIS_RATE))[None]
    size = network.config.enhancer.n_fft
    with fast_precision():
        gains = network(power(heard, size, size), torch.tensor([max(loud, 1e-10)]))
    gains = gains.clamp_min(10.0 ** (-strength * DEEPEST_DB / 20.0))
    return to_array(masked(on_device(samples)[None], gains, rate)[0])


def masked(samples: Tensor, gains: Tensor, rate: int) -> Tensor:
    """(B, N) at `rate` with gains (B, T, bins at ANALYSIS_RATE) on its spectrum.

    Above ANALYSIS_RATE / 2 the mean of the gains from 6 kHz up holds.
    """
    hop = rate // FRAME_RATE
    n_fft = 2 * round(WINDOW_SECONDS * rate / 2)
    spectrum = torch.stft(
        samples, n_fft, hop, n_fft, hann(n_fft), center=True, pad_mode="constant", return_complex=True
    )
    bins = n_fft // 2 + 1
    first = round(_HELD_FROM_HZ * WINDOW_SECONDS)
    if bins > gains.shape[-1]:
        held = gains[..., first:].mean(-1, keepdim=True).expand(*gains.shape[:-1], bins - gains.shape[-1])
        gains = torch.cat([gains, held], dim=-1)
    shaped = spectrum * gains[..., :bins].transpose(1, 2)
    return torch.istft(shaped, n_fft, hop, n_fft, hann(n_fft), center=True, length=samples.shape[-1])
