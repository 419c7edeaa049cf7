"""Who says it: a unit vector per utterance, which conditions the decoder and tells speakers apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ml.config import ANALYSIS_RATE, ModelConfig
from ml.convnext import ConvNeXtBlock, fast_precision
from ml.spectral import log_mel

_PIECE = 3 * ANALYSIS_RATE


class SpeakerEncoder(nn.Module):
    """Log-mel (B, T, mel bands) -> unit vectors (B, dimensions).

    ConvNeXt blocks and attentive statistics pooling (Okabe et al., 2018).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = config.speaker
        self.config = config
        self.enter = nn.Linear(config.mel.bands, sizes.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(sizes.width, sizes.expansion, sizes.kernel, dilation) for dilation in sizes.dilations
        )
        self.widen = nn.Linear(sizes.width, 2 * sizes.width)
        self.attention = nn.Sequential(
            nn.Linear(2 * sizes.width, sizes.attention), nn.Tanh(), nn.Linear(sizes.attention, 2 * sizes.width)
        )
        # Batch norms take away what all voices share, without which the unit vectors start out all alike.
        self.norm = nn.BatchNorm1d(4 * sizes.width)
        self.leave = nn.Linear(4 * sizes.width, sizes.dimensions)
        self.spread = nn.BatchNorm1d(sizes.dimensions, affine=False)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.enter((mel + 5.0) / 3.0)
        for block in self.blocks:
            x = block(x)
        x = nn.functional.gelu(self.widen(x)).float()
        weight = torch.softmax(self.attention(x).float(), dim=1)
        mean = (weight * x).sum(1)
        deviation = ((weight * x.square()).sum(1) - mean.square()).clamp_min(1e-5).sqrt()
        pooled = self.norm(torch.cat([mean, deviation], dim=-1))
        return nn.functional.normalize(self.spread(self.leave(pooled).float()), dim=-1)

    @torch.no_grad()
    def embed(self, samples: Tensor) -> Tensor:
        """Unit vector (dimensions,) of one signal (N,) at ANALYSIS_RATE, N > 0: the mean over pieces of 3 s."""
        count = max(1, round(samples.shape[-1] / _PIECE))
        size = min(_PIECE, samples.shape[-1])
        starts = np.linspace(0, samples.shape[-1] - size, count).astype(int).tolist()
        total = torch.zeros(self.config.speaker.dimensions)
        with fast_precision():
            for start in starts:
                mel = log_mel(samples[None, start : start + size], self.config.mel)
                total += self(mel)[0].float()
        return nn.functional.normalize(total, dim=-1)


def centroid(embeddings: Sequence[Tensor]) -> Tensor:
    """Unit vector in the middle of unit vectors of the same speaker. Raises ValueError when there are none."""
    if not embeddings:
        raise ValueError("A centroid needs at least one embedding.")
    return nn.functional.normalize(torch.stack(list(embeddings)).mean(0), dim=-1)


def similarity(first: Tensor, second: Tensor) -> float:
    """Cosine of two unit vectors, -1..1."""
    return float(first @ second)
