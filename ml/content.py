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
FEW_FRAMES = 10
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
    means: tuple[Tensor, Tensor] | None = None,
    products: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Moves z (T, D) by `ratio` (0..1; one for all, or (T, 1)) towards the mean of its nearest frames in `pool` (P, D).

    What is near is said by the mean cosine of a frame and the NEIGHBOURHOOD before and after it: a frame alone is
    taken for another phone's more often. The nearest are weighted by the softmax of that over 0.1, as in kNN-VC (Baas
    et al., 2023) with RVC's idea of a ratio. Both z and pool are rows of unit variance, so a product is the cosine.

    With `means`, those of the source and of the pool, (D,) each, what is near is said by what is left when each
    speaker's mean is taken away, for that is the speaker rather than the phone; and z goes from one mean to the other
    by `ratio` before it moves towards its neighbours. `products` gives those of frames with each of `with_edges` of
    what the pool is compared by, `without` its mean or itself, where somebody has made it ready.
    """
    if not (torch.any(ratio > 0) if isinstance(ratio, Tensor) else ratio > 0):
        return z
    count, frames, found = min(neighbours, len(pool)), len(z), torch.empty_like(z)
    around = with_edges(z if means is None else without(z, means[0]))
    if products is None:
        products = partial(nn.functional.linear, weight=with_edges(pool if means is None else without(pool, means[1])))
    for start in range(0, frames, _RETRIEVED):
        end = min(start + _RETRIEVED, frames)
        near = products(around[start : end + 2 * NEIGHBOURHOOD])
        # A frame and those around it against the same of the pool lie on a diagonal.
        width = near.shape[1]
        similarity = near.as_strided((2 * NEIGHBOURHOOD + 1, end - start, len(pool)), (width + 1, width, 1)).sum(0)
        value, index = similarity.topk(count, dim=-1)
        weight = torch.softmax(value / (0.1 * z.shape[-1] * (2 * NEIGHBOURHOOD + 1)), dim=-1)
        found[start:end] = (pool[index] * weight.unsqueeze(-1)).sum(1)
    if means is not None:
        z = nn.functional.layer_norm(z + ratio * (means[1] - means[0]), z.shape[-1:])
    return z + ratio * (found - z)


def without(z: Tensor, mean: Tensor) -> Tensor:
    """Frames (T, D) less `mean` (D,), each again as long as one of unit variance."""
    left: Tensor = nn.functional.normalize(z - mean, dim=-1)
    long: Tensor = left * z.shape[-1] ** 0.5
    return long


def speaker_mean(heard: Tensor, count: int, own: Tensor) -> Tensor:
    """What of the mean `heard` (D,) of a source's `count` frames is its speaker's, beside a voice's `own` (D,).

    As long as little was heard, or little but one sound (a note that is held), its mean is that of what was said. So it
    counts by as much as the frames are scattered about it, in relation to the voice's, and as frames are many; for the
    rest the source is taken to be like the voice. Frames have unit variance, so means say how far they scatter.
    """
    scattered = (len(own) - heard.square().sum()) / (len(own) - own.square().sum()).clamp_min(1.0)
    return own + scattered.clamp(0.0, 1.0) * (count / (count + FEW_FRAMES)) * (heard - own)


def with_edges(z: Tensor) -> Tensor:
    """Rows (T, D) with the first and the last again NEIGHBOURHOOD times before and after them."""
    return torch.cat([z[:1].expand(NEIGHBOURHOOD, -1), z, z[-1:].expand(NEIGHBOURHOOD, -1)])
