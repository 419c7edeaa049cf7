"""The networks of a conversion run on a stream: only new frames and the look-ahead are computed, the past is kept.

A frame's result needs `context` frames on both sides. Those before it are remembered, layer by layer, as they were when
they were computed; of those after it only a few are there, and the last of them stands for all that have yet to come.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.content import ContentEncoder
from ml.convnext import ConvNeXtBlock, fast_dtype
from ml.decoder import Decoder, Gains


@dataclass
class _Layer:
    """One block with all that does not change in a stream folded into its matrices, and the input that it saw last."""

    taps: Tensor
    bias: Tensor
    dilation: int
    expand: tuple[Tensor, Tensor]
    contract: tuple[Tensor, Tensor]
    past: Tensor

    def __call__(self, x: Tensor, hop: int) -> Tensor:
        """(T, C) -> (T, C); the first `hop` frames are final and become the past."""
        reach = len(self.past)
        seen = torch.cat([self.past, x, x[-1:].expand(reach, -1)])
        self.past = seen[hop : hop + reach].clone()
        # One view of the frames under every tap: a product and a sum cost half of as many multiply-adds as taps.
        kernel, (frames, channels) = len(self.taps), x.shape
        under = seen.as_strided((kernel, frames, channels), (self.dilation * channels, channels, 1))
        y = (under * self.taps[:, None]).sum(0) + self.bias
        y = nn.functional.layer_norm(y, y.shape[-1:]).to(self.expand[0].dtype)
        y = nn.functional.gelu(nn.functional.linear(y, *self.expand), approximate="tanh")
        return x + nn.functional.linear(y, *self.contract)


class _Stack:
    """Successive blocks over one stream."""

    def __init__(self, blocks: nn.ModuleList, hop: int, condition: Tensor | None = None) -> None:
        self._hop = hop
        self._layers = [_folded(block, condition) for block in blocks if isinstance(block, ConvNeXtBlock)]

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self._layers:
            x = layer(x, self._hop)
        return x


def _folded(block: ConvNeXtBlock, condition: Tensor | None) -> _Layer:
    """`block` with its norm's scale and shift, of the `condition` (1, c) if it has one, taken into the perceptron."""
    if block.adapt is not None:
        scale, shift = block.adapt(condition)[0].chunk(2)
        scale = 1 + scale
    else:
        scale, shift = block.norm.weight, block.norm.bias
    expand, contract, conv = block.expand, block.contract, block.conv
    precision = fast_dtype()
    reach = conv.weight.shape[0] // 2 * conv.dilation
    return _Layer(
        taps=conv.weight,
        bias=conv.bias,
        dilation=conv.dilation,
        expand=((expand.weight * scale).to(precision), (expand.bias + expand.weight @ shift).to(precision)),
        contract=((contract.weight * block.scale[:, None]).to(precision), (contract.bias * block.scale).to(precision)),
        past=torch.zeros(reach, conv.weight.shape[1]),
    )


class ContentStream:
    """`ContentEncoder` on a stream that goes on by `hop` frames a call."""

    def __init__(self, encoder: ContentEncoder, hop: int) -> None:
        self._encoder = encoder
        self._stack = _Stack(encoder.blocks, hop)

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel (T, bands) of `hop` new frames and the look-ahead -> content (T, dimensions)."""
        encoder = self._encoder
        x = self._stack(encoder.enter((mel + 5.0) / 3.0))
        z = encoder.leave(encoder.norm(x))
        return nn.functional.layer_norm(z, z.shape[-1:])


class DecoderStream:
    """`Decoder` on a stream of one speaker (1, dimensions) that goes on by `hop` frames a call."""

    def __init__(self, decoder: Decoder, speaker: Tensor, hop: int) -> None:
        self._decoder, self._hop = decoder, hop
        self._stack = _Stack(decoder.blocks, hop, decoder.condition(speaker))

    def __call__(self, content: Tensor, f0: Tensor, loudness: Tensor, noise: Tensor) -> Gains:
        """Features (T, ...) of `hop` new frames and the look-ahead, as in `Decoder` -> Gains (1, hop, bands)."""
        x = self._stack(self._decoder.features(content, f0, loudness, noise))
        return self._decoder.gains(x[None, : self._hop])
