"""White noise that is a function of its place in a sound, so that overlapping pieces of one sound share it."""

from __future__ import annotations

import torch
from torch import Tensor

from ml.device import on_device

_BLOCK = 100  # rows that one generator draws: enough to make its seeding cheap, few enough to waste little


def placed(seed: int, stream: int, start: int, count: int, columns: int) -> Tensor:
    """Standard normal rows `start` to `start + count` (count, columns) of the endless noise of (`seed`, `stream`).

    `stream`, 0 or 1, keeps two uses of one seed apart.
    """
    first, last = start // _BLOCK, (start + count - 1) // _BLOCK
    drawn = [
        torch.randn(_BLOCK, columns, generator=_generator((seed * 1_000_003 + block) * 2 + stream), device="cpu")
        for block in range(first, last + 1)
    ]
    begin = start - first * _BLOCK
    return on_device(torch.cat(drawn)[begin : begin + count])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed % 2**63)
