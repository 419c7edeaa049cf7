"""The copies of a take's content that a decoder is adapted on: what a conversion's content may look like.

A decoder that knew a take's content only as it is would read the speaker out of it, and be lost with a stranger's.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ml.audio import Samples, resample
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE
from ml.device import on_device
from ml.retrieval import retrieve
from ml.weights import Base

_SPEEDS = (0.87, 1.15)
_OWN_RETRIEVAL = 0.3
_BORROWED, _RETURNED = (0.3, 0.9), 0.5  # how far content moves to a lender's frames, and then back to the own ones


@torch.no_grad()
def heard(base: Base, samples: Samples, generator: np.random.Generator) -> Tensor:
    """Content (4, T, dimensions) of a take (N,) at ANALYSIS_RATE.

    It is heard as it is, slower and faster with noise, and as a stream hears it. Slower and faster move pitch and
    formants too, as if somebody else had said the same.
    """
    frames, plain = 1 + len(samples) // ANALYSIS_HOP, on_device(samples)[None]
    copies = [base.hearing.encode(plain)]
    for speed in _SPEEDS:
        played = resample(samples, ANALYSIS_RATE, round(ANALYSIS_RATE / speed))
        level = float(np.sqrt(np.mean(played**2))) * 10 ** (-generator.uniform(15, 50) / 20)
        noisy = played + level * generator.standard_normal(len(played)).astype(np.float32)
        copies.append(base.hearing.encode(on_device(noisy)[None], frames, speed))
    return torch.cat([*copies, base.content.encode(plain)]).float()


def borrowed(base: Base, content: Tensor, own: Tensor, lenders: int, generator: np.random.Generator) -> Tensor:
    """Copies (1 + 2 * lenders, T, dimensions) of a take's content (T, dimensions).

    They are made of its voice's `own` other frames (P, dimensions), and of those of the base's lenders.
    """
    mean = own.mean(0)
    copies = [retrieve(content, own, _OWN_RETRIEVAL, means=(mean, mean))]
    for which in generator.choice(len(base.lenders), min(lenders, len(base.lenders)), replace=False):
        lender, share = base.lenders[which].content, float(generator.uniform(*_BORROWED))
        moved = retrieve(content, lender, share, means=(mean, lender.mean(0)))
        between = mean + share * (lender.mean(0) - mean)
        copies += [moved, retrieve(moved, own, _RETURNED, means=(between, mean))]
    return torch.stack(copies)


def thinned(pool: Tensor, most: int) -> Tensor:
    """Every so many-th second of the frames (P, D): at most `most`, nearly all beside their neighbours."""
    if len(pool) <= most:
        return pool
    seconds = torch.arange(len(pool), device=pool.device) // FRAME_RATE
    return pool[seconds % math.ceil(len(pool) / most) == 0][:most]
