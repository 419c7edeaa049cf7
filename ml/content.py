"""What is said: a frame-wise encoder whose output carries phones and as little of the speaker as may be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ml.config import ModelConfig
from ml.convnext import ConvNeXtBlock, fast_precision
from ml.spectral import log_mel

NEIGHBOURHOOD = 2
"""Frames on each side that count when retrieval says which frames are near each other."""
_RETRIEVED = 256  # frames at once


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


def retrieve(
    z: Tensor,
    pool: Tensor,
    ratio: float | Tensor,
    neighbours: int = 4,
    products: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Moves z (T, D) by `ratio` (0..1; one for all, or (T, 1)) towards the mean of its nearest frames in `pool` (P, D).

    What is near is said by the mean cosine of a frame and the NEIGHBOURHOOD before and after it: a frame alone is
    taken for another phone's more often. The nearest are weighted by the softmax of that over 0.1, as in kNN-VC (Baas
    et al., 2023) with RVC's idea of a ratio. Both z and pool are rows of unit variance, so a product is the cosine.
    `products` gives those of frames with each of `with_edges(pool)`, where somebody has made it ready.
    """
    if not (torch.any(ratio > 0) if isinstance(ratio, Tensor) else ratio > 0):
        return z
    count, frames, around, found = min(neighbours, len(pool)), len(z), with_edges(z), torch.empty_like(z)
    if products is None:
        products = partial(nn.functional.linear, weight=with_edges(pool))
    for start in range(0, frames, _RETRIEVED):
        end = min(start + _RETRIEVED, frames)
        near = products(around[start : end + 2 * NEIGHBOURHOOD])
        # A frame and those around it against the same of the pool lie on a diagonal.
        width = near.shape[1]
        similarity = near.as_strided((2 * NEIGHBOURHOOD + 1, end - start, len(pool)), (width + 1, width, 1)).sum(0)
        value, index = similarity.topk(count, dim=-1)
        weight = torch.softmax(value / (0.1 * z.shape[-1] * (2 * NEIGHBOURHOOD + 1)), dim=-1)
        found[start:end] = (pool[index] * weight.unsqueeze(-1)).sum(1)
    return z + ratio * (found - z)


def with_edges(z: Tensor) -> Tensor:
    """Rows (T, D) with the first and the last again NEIGHBOURHOOD times before and after them."""
    return torch.cat([z[:1].expand(NEIGHBOURHOOD, -1), z, z[-1:].expand(NEIGHBOURHOOD, -1)])
