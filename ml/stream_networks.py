"""The networks of a conversion run on a stream: only new frames and the look-ahead are computed, the past is kept.

A frame's result needs `context` frames on both sides. Those before it are remembered, layer by layer, as they were when
they were computed; of those after it only a few are there, and the last of them stands for all that have yet to come.
Two hops that are there at once go through together, which spares the second way of all weights to the processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.content import ContentEncoder
from ml.convnext import ConvNeXtBlock, fast_dtype
from ml.decoder import Decoder, Gains
from ml.fused import GELU, Linear


@dataclass
class _Layer:
    """One block with all that does not change in a stream folded into its matrices, and the input that it saw last."""

    taps: Tensor
    bias: Tensor
    dilation: int
    expand: Linear
    contract: Linear
    past: Tensor

    def __call__(self, x: Tensor, hop: int, frames: int) -> Tensor:
        """(N * frames, C), N windows one `hop` apart -> the same; the first `hop` of each are final, and then past."""
        reach, channels, parts = len(self.past), x.shape[1], []
        for window in x.split(frames):
            seen = torch.cat([self.past, window, window[-1:].expand(reach, -1)])
            self.past = seen[hop : hop + reach]
            parts.append(seen)
        # One view of the frames under every tap: a product and a sum cost half of as many multiply-adds as taps.
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        shape = len(self.taps), len(parts), frames, channels
        under = joined.as_strided(shape, (self.dilation * channels, len(parts[0]) * channels, channels, 1))
        y = ((under * self.taps).sum(0) + self.bias).view(x.shape)
        return x + self.contract(self.expand(nn.functional.layer_norm(y, (channels,))))


class _Stack:
    """Successive blocks over one stream."""

    def __init__(self, blocks: nn.ModuleList, hop: int, frames: int, condition: Tensor | None = None) -> None:
        self._hop, self._frames = hop, frames
        self._layers = [_folded(block, frames, condition) for block in blocks if isinstance(block, ConvNeXtBlock)]

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self._layers:
            x = layer(x, self._hop, self._frames)
        return x


def _folded(block: ConvNeXtBlock, frames: int, condition: Tensor | None) -> _Layer:
    """`block` on `frames` a call, with its norm's scale and shift, of the `condition` (1, c) if it has one, taken into the perceptron."""
    if block.adapt is not None:
        scale, shift = block.adapt(condition)[0].chunk(2)
        scale = 1 + scale
    else:
        scale, shift = block.norm.weight, block.norm.bias
    expand, contract, conv = block.expand, block.contract, block.conv
    precision = fast_dtype()
    reach = conv.weight.shape[0] // 2 * conv.dilation
    return _Layer(
        taps=conv.weight[:, None, None],
        bias=conv.bias,
        dilation=conv.dilation,
        expand=Linear(expand.weight * scale, expand.bias + expand.weight @ shift, frames, precision, GELU),
        contract=Linear(contract.weight * block.scale[:, None], contract.bias * block.scale, frames, precision),
        past=torch.zeros(reach, conv.weight.shape[1]),
    )


def _left(norm: nn.LayerNorm, leave: nn.Linear, frames: int) -> Linear:
    """A network's last layer with the scale and shift of the norm before it."""
    return Linear(leave.weight * norm.weight, leave.bias + leave.weight @ norm.bias, frames, torch.float32)


class ContentStream:
    """`ContentEncoder` on a stream that hears `frames` a call and goes on by `hop` of them."""

    def __init__(self, encoder: ContentEncoder, hop: int, frames: int) -> None:
        self._stack = _Stack(encoder.blocks, hop, frames)
        enter = encoder.enter
        bias = enter.bias + 5.0 / 3.0 * enter.weight.sum(1)
        self._enter = Linear(enter.weight / 3.0, bias, frames, torch.float32)
        self._leave = _left(encoder.norm, encoder.leave, frames)

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel (N * frames, bands) of N windows, each of `hop` new frames and the look-ahead -> content
        (N * frames, dimensions)."""
        x = self._stack(self._enter(mel))
        z = self._leave(nn.functional.layer_norm(x, x.shape[-1:]))
        return nn.functional.layer_norm(z, z.shape[-1:])


class DecoderStream:
    """`Decoder` on a stream of one speaker (1, dimensions) that hears `frames` a call and goes on by `hop` of them."""

    def __init__(self, decoder: Decoder, speaker: Tensor, hop: int, frames: int) -> None:
        self._decoder, self._hop, self._frames = decoder, hop, frames
        self._stack = _Stack(decoder.blocks, hop, frames, decoder.condition(speaker))
        self._enter = Linear(decoder.enter.weight, decoder.enter.bias, frames, torch.float32)
        self._leave = _left(decoder.norm, decoder.leave, hop)

    def __call__(self, content: Tensor, f0: Tensor, loudness: Tensor, noise: Tensor) -> Gains:
        """Features (N * frames, ...) of N windows, each of `hop` new frames and the look-ahead, as in `Decoder` -> Gains
        (1, N * hop, bands)."""
        x = self._stack(self._enter(self._decoder.features(content, f0, loudness, noise)))
        x = x.unflatten(0, (-1, self._frames))[:, : self._hop].flatten(0, 1)
        return self._decoder.limited(self._leave(nn.functional.layer_norm(x, x.shape[-1:]))[None])
