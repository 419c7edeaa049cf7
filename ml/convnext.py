"""The block that all networks are made of, and the precision they run in."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

from ml import device, fused

P = ParamSpec("P")
R = TypeVar("R")

_TIMED_FRAMES, _TIMED_TURNS = 250, 9


class DepthwiseConv(nn.Module):
    """Depth-wise convolution over time, zero-padded: (B, T, C) -> (B, T, C).

    For a gradient it is written as `kernel` shifted multiply-adds: torch's grouped convolution is quicker by itself
    (a third of the time), if it is told that its channels come last, but slower with its way back.
    """

    def __init__(self, channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(kernel, channels) * kernel**-0.5)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.dilation = dilation

    def forward(self, x: Tensor) -> Tensor:
        frames, kernel = x.shape[1], self.weight.shape[0]
        reach = (kernel // 2) * self.dilation
        if fused.there(x):
            return fused.depthwise(x, self.weight, self.bias, self.dilation)
        padded = nn.functional.pad(x, (0, 0, reach, reach))
        out = self.bias.to(x.dtype).expand_as(x)
        for tap, weight in enumerate(self.weight.to(x.dtype)):
            start = tap * self.dilation
            out = torch.addcmul(out, padded[:, start : start + frames], weight)
        return out


class ConvNeXtBlock(nn.Module):
    """One residual block, (B, T, C) -> (B, T, C): depth-wise convolution, norm, two-layer perceptron, scale.

    After ConvNeXt (Liu et al., 2022) in one dimension, as Vocos (Siuzdak, 2023) uses it. With `condition` > 0
    the norm's scale and shift come from a condition (B, condition), as in adaptive layer norm.
    """

    def __init__(self, width: int, expansion: int, kernel: int, dilation: int, condition: int = 0) -> None:
        super().__init__()
        self.conv = DepthwiseConv(width, kernel, dilation)
        self.norm = nn.LayerNorm(width, elementwise_affine=condition == 0)
        self.adapt = nn.Linear(condition, 2 * width) if condition else None
        if self.adapt is not None:
            nn.init.zeros_(self.adapt.weight)
            nn.init.zeros_(self.adapt.bias)
        self.expand = nn.Linear(width, width * expansion)
        self.contract = nn.Linear(width * expansion, width)
        self.scale = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        y = self.norm(self.conv(x))
        if self.adapt is not None:
            scale, shift = self.adapt(condition).unsqueeze(1).chunk(2, dim=-1)
            y = torch.addcmul(shift, y, 1 + scale)
        if fused.there(x):
            return torch.addcmul(x, self._perceptron(y), self.scale)
        y = self.contract(nn.functional.gelu(self.expand(y), approximate="tanh"))
        out: Tensor = x + y * self.scale
        return out

    def _perceptron(self, y: Tensor) -> Tensor:
        """Both layers without a gradient, in two thirds of the time (in bfloat16; four fifths in float32)."""
        kind = fused.dtype_of(y)
        first, second = ((one.weight.to(kind), one.bias.to(kind)) for one in (self.expand, self.contract))
        return fused.linear(fused.linear(y.to(kind), *first, fused.GELU), *second)


def fast_precision() -> AbstractContextManager[object]:
    """bfloat16 for matrix products where that is quicker on this processor, else float32 throughout."""
    return nullcontext() if fast_dtype() == torch.float32 else bfloat16_precision()


@lru_cache(maxsize=1)
@torch.inference_mode()
def fast_dtype() -> torch.dtype:
    """What `fast_precision` multiplies matrices in: bfloat16 if this processor computes in it, and quicker.

    With matrix units (AMX) it is two to four times as quick; with vector instructions alone it was seen to take nearly
    twice as long as float32. So one of the networks' own products is timed in both, once a process, for some 20 ms.
    """
    if device.kind() == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if not torch.cpu._is_avx512_bf16_supported():
        return torch.float32
    x, weight = torch.ones(_TIMED_FRAMES, 256), torch.ones(768, 256)
    pairs = {dtype: (x.to(dtype), weight.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    turns = [{dtype: _seconds(*pair) for dtype, pair in pairs.items()} for _ in range(_TIMED_TURNS)]
    full, half = (min(turn[dtype] for turn in turns) for dtype in pairs)
    return torch.bfloat16 if half < full else torch.float32


def _seconds(x: Tensor, weight: Tensor) -> float:
    """CPU time of this thread, which other work on the machine does not lengthen much."""
    begun = time.thread_time()
    nn.functional.linear(x, weight)
    return time.thread_time() - begun


def bfloat16_precision() -> AbstractContextManager[object]:
    """bfloat16 for matrix products on any processor, also where it only emulates it."""
    return torch.autocast(device.kind(), dtype=torch.bfloat16)


def float32_precision() -> AbstractContextManager[object]:
    """float32 for everything."""
    return torch.autocast(device.kind(), enabled=False)


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates signal processing, which needs float32 also when its caller is under `fast_precision`."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with float32_precision():
            return function(*args, **kwargs)

    return run
