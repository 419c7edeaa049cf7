"""Products with fixed weights through oneDNN's own calls: GELU inside the product, weights laid out once.

torch compiles its own graphs to these calls; they are not part of its public interface, and torch's version is pinned.
They know no gradients, no autocast and no device but the processor, so each is used behind `there`. Results are those
of torch's public calls within rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GELU = "gelu"


def there(x: Tensor) -> bool:
    """Says whether `x` can go this way: it is on the processor, no gradient is wanted, and no graph is exported."""
    exported = torch._C._get_tracing_state() is not None
    return not (torch.is_grad_enabled() or exported) and x.device.type == "cpu" and torch._C._has_mkldnn


def dtype_of(x: Tensor) -> torch.dtype:
    """What a product of `x` is computed in here: autocast's type, where it is on."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def linear(x: Tensor, weight: Tensor, bias: Tensor, activation: str = "none") -> Tensor:
    """`x` @ `weight`.T + `bias` in the type that all three have, then GELU by its tanh form if it is asked for."""
    algorithm = "tanh" if activation == GELU else ""
    made: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, activation, [], algorithm)
    return made


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """Depth-wise convolution over time, zero-padded: (B, T, C) with weights (kernel, C) -> (B, T, C), in their type."""
    kernel, channels = weight.shape
    taps = weight.T[:, None, None].contiguous(memory_format=torch.channels_last)
    padding, apart = [0, kernel // 2 * dilation], [1, dilation]
    made: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
        x.mT[:, :, None], taps, bias, padding, [1, 1], apart, channels, "none", [], ""
    )
    return made[:, :, 0].mT


class Linear:
    """A linear layer that never changes, on inputs of always as many rows: (rows, n) -> (rows, m).

    In `precision`, with GELU by its tanh form if `activation` asks for it.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor, rows: int, precision: torch.dtype, activation: str = "none"
    ) -> None:
        self._weight, self._bias = weight.to(precision), bias.to(precision)
        self._precision, self._activation, self._packed = precision, activation, there(weight)
        if self._packed:
            self._weight = torch.ops.mkldnn._reorder_linear_weight.default(self._weight, rows)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self._precision)
        if self._packed:
            return linear(x, self._weight, self._bias, self._activation)
        made = nn.functional.linear(x, self._weight, self._bias)
        return nn.functional.gelu(made, approximate="tanh") if self._activation == GELU else made


class Conv2d:
    """A convolution with the weights of `layer`, which never change, its activation inside it, channels last.

    `padding` is in the place of the layer's.
    """

    # The layout of weights is chosen for inputs of this size; others are computed from it as well.
    _LIKELY = (128, 1000)

    def __init__(self, layer: nn.Conv2d, activation: str, padding: tuple[int, int] | None = None) -> None:
        self._layer, self._activation = layer, activation
        self._how = list(padding or layer.padding), list(layer.stride), list(layer.dilation), layer.groups
        likely = [1, layer.in_channels, *self._LIKELY]
        self._weight = torch.ops.mkldnn._reorder_convolution_weight.default(layer.weight, *self._how, likely)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> (B, channels, H, W)."""
        made: Tensor = torch.ops.mkldnn._convolution_pointwise.default(
            x, self._weight, self._layer.bias, *self._how, self._activation, [], ""
        )
        return made

    def onto(self, other: Tensor, x: Tensor) -> Tensor:
        """`other` + this convolution of `x`, then the activation, in the place of `other`."""
        made: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            other, x, self._weight, self._layer.bias, *self._how, "add", 1.0, self._activation, [], None
        )
        return made
