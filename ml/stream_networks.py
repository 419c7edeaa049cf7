"""The networks of a conversion run on a stream: only new frames and the look-ahead are computed, the past is kept.

A frame's result needs `context` frames on both sides. Those before it are remembered, layer by layer, as they were when
they were computed; of those after it only a few are there, and the last of them stands for all that have yet to come.
Two hops that are there at once go through together, which spares all weights a second way to the processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.content import ContentEncoder
from ml.convnext import ConvNeXtBlock, fast_dtype
from ml.decoder import Decoder, Gains
from ml.device import on_device
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
        for window in torch.split(x, frames):
            seen = torch.cat([self.past, window, window[-1:].expand(reach, -1)])
            self.past = seen[hop : hop + reach]
            parts.append(seen)
        # One view of the frames under every tap: a product and a sum cost half of as many multiply-adds as taps.
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        shape = len(self.taps), len(parts), frames, channels
        under = joined.as_strided(shape, (self.dilation * channels, len(parts[0]) * channels, channels, 1))
        y = ((under * self.taps).sum(0) + self.bias).view(x.shape)
        return x + self.contract(self.expand(nn.functional.layer_norm(y, (channels,))))


class _Network:
    """Successive blocks over one stream, with the layers before and after them."""

    def __init__(self, enter: Linear, layers: list[_Layer], leave: Linear, hop: int, frames: int) -> None:
        self._enter, self._layers, self._leave, self._hop, self._frames = enter, layers, leave, hop, frames

    def __call__(self, x: Tensor, left: int) -> Tensor:
        """(N * frames, n) of N windows one hop apart -> the first `left` frames of each (N * left, m)."""
        x = self._enter(x)
        for layer in self._layers:
            x = layer(x, self._hop, self._frames)
        x = x.view(-1, self._frames, x.shape[-1])[:, :left].flatten(0, 1)
        return self._leave(nn.functional.layer_norm(x, x.shape[-1:]))

    def even(self, inputs: int, left: int) -> bool:
        """Says whether two windows together give what they give one after the other, to the bit, on this processor.

        That is up to the order in which products are summed, which their size could change. For a stream that has not
        begun.
        """
        generator = torch.Generator("cpu").manual_seed(0)
        x = on_device(torch.randn(2 * self._frames, inputs, generator=generator, device="cpu"))
        pasts = [layer.past for layer in self._layers]

        def begin() -> None:
            for layer, past in zip(self._layers, pasts, strict=True):
                layer.past = past

        alone = torch.cat([self(window, left) for window in torch.split(x, self._frames)])
        begin()
        together = self(x, left)
        begin()
        return torch.equal(alone, together)


def _layers(blocks: nn.ModuleList, frames: int, condition: Tensor | None = None) -> list[_Layer]:
    return [_folded(block, frames, condition) for block in blocks if isinstance(block, ConvNeXtBlock)]


def _folded(block: ConvNeXtBlock, frames: int, condition: Tensor | None) -> _Layer:
    """`block` on `frames` a call, its norm's scale and shift taken into its perceptron.

    They are those of the `condition` (1, c), if it has one.
    """
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
        enter = encoder.enter
        bias = enter.bias + 5.0 / 3.0 * enter.weight.sum(1)
        entered = Linear(enter.weight / 3.0, bias, frames, torch.float32)
        left = _left(encoder.norm, encoder.leave, frames)
        self._network = _Network(entered, _layers(encoder.blocks, frames), left, hop, frames)
        self._frames = frames
        self.even = self._network.even(encoder.config.mel.bands, frames)

    def __call__(self, mel: Tensor) -> Tensor:
        """Log-mel (N * frames, bands) of N windows, each of `hop` new frames and the look-ahead -> content
        (N * frames, dimensions). With N > 1 only where `even`, and the same to the bit."""
        z = self._network(mel, self._frames)
        return nn.functional.layer_norm(z, z.shape[-1:])


class DecoderStream:
    """`Decoder` on a stream of one speaker (1, dimensions) that hears `frames` a call and goes on by `hop` of them."""

    def __init__(self, decoder: Decoder, speaker: Tensor, hop: int, frames: int) -> None:
        self._decoder, self._hop, self._bands = decoder, hop, decoder.leave.out_features
        entered = Linear(decoder.enter.weight, decoder.enter.bias, frames, torch.float32)
        left = _left(decoder.norm, decoder.leave, hop)
        self._network = _Network(
            entered, _layers(decoder.blocks, frames, decoder.condition(speaker)), left, hop, frames
        )
        self.even = self._network.even(decoder.enter.in_features, hop)

    def __call__(self, features: Tensor) -> list[Gains]:
        """`Decoder.features` (N * frames, ...) of N windows, each of `hop` new frames and the look-ahead -> Gains
        (1, hop, bands) of each. With N > 1 only where `even`, and the same to the bit."""
        made = self._network(features, self._hop).view(-1, 1, self._hop, self._bands)
        return [self._decoder.limited(one) for one in made]
