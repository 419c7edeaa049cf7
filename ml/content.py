"""What is said: a frame-wise encoder whose output carries phones and as little of the speaker as may be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ml.config import ModelConfig
from ml.convnext import ConvNeXtBlock, fast_precision
from ml.spectral import log_mel


class ContentEncoder(nn.Module):
    """Log-mel (B, T, mel bands) -> content z (B, T, dimensions), each frame of zero mean and unit variance.

    The receptive field is +-54 frames; give pieces of a long signal that much context.
    """

    context = 54

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = config.content
        self.config = config
        self.enter = nn.Linear(config.mel.bands, sizes.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(sizes.width, sizes.expansion, sizes.kernel, dilation) for dilation in sizes.dilations
        )
        self.norm = nn.LayerNorm(sizes.width)
        self.leave = nn.Linear(sizes.width, sizes.dimensions)

    def forward(self, mel: Tensor) -> Tensor:
        # Speech at ordinary levels has log-mels around -5 +- 3: near zero mean and unit variance.
        x = self.enter((mel + 5.0) / 3.0)
        for block in self.blocks:
            x = block(x)
        z = self.leave(self.norm(x)).float()
        return nn.functional.layer_norm(z, (self.config.content.dimensions,))

    @torch.no_grad()
    def encode(self, samples: Tensor, warp: float = 1.0) -> Tensor:
        """z (B, T, dimensions) of (B, N) samples at ANALYSIS_RATE; `warp` as in `mel_filters`."""
        mel = log_mel(samples, self.config.mel, warp)
        with fast_precision():
            z: Tensor = self(mel)
        return z
