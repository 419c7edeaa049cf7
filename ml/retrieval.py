"""What a voice lends to a conversion: its own sounds nearest to the source's, and how loud it said them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

NEIGHBOURHOOD = 2
"""Frames on each side that count when it is said which frames are near each other."""
FEW_FRAMES = 10
LOUDNESS_SHARE = 0.7
"""Of the way that content goes to its neighbours loudness goes this much."""
QUIET_DB, SPOKEN_DB = -40.0, -30.0
"""Relative to the voice's level: frames up to the first are pauses and stay as quiet as they are, from the second on
they are speech."""
_AT_ONCE = 256  # frames


@dataclass(frozen=True)
class Near:
    """For each of T frames its nearest in a pool: `index` and `weight` (T, neighbours), whose weights sum to 1."""

    index: Tensor
    weight: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """The weighted mean of what the pool's frames have: (P, ...) -> (T, ...)."""
        weight = self.weight.view(*self.weight.shape, *[1] * (values.ndim - 1))
        return (values[self.index] * weight).sum(1)


@dataclass(frozen=True)
class Pool:
    """The frames of a voice's takes: their `content` (P, D), and their `levels` (P,) in dB relative to the voice's."""

    content: Tensor
    levels: Tensor

    @cached_property
    def mean(self) -> Tensor:
        """The mean content, (D,)."""
        return self.content.mean(0)

    def lend(
        self,
        z: Tensor,
        level: Tensor,
        ratio: float | Tensor,
        neighbours: int,
        mean: Tensor,
        products: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Content (T, D) and level (T,), relative to the voice's, of a source whose mean is `mean` (D,), moved by
        `ratio` (0..1; one for all, or (T,)) towards the voice's own.

        Content as by `retrieve`; the level towards that of the same neighbours: how loud a sound is beside the others
        is a habit of its speaker, and a decoder that was taught the takes answers to sounds as loud as they were there
        with the voice that it was taught. Pauses keep theirs.
        """
        if not torch.any(torch.as_tensor(ratio) > 0):
            return z, level
        near = nearest(z, self.content, neighbours, (mean, self.mean), products)
        share = ratio * LOUDNESS_SHARE * ((level - QUIET_DB) / (SPOKEN_DB - QUIET_DB)).clamp(0.0, 1.0)
        rows = ratio[:, None] if isinstance(ratio, Tensor) else ratio
        content = moved(z, near.mean(self.content), rows, (mean, self.mean))
        return content, level + share * (near.mean(self.levels) - level)


def retrieve(
    z: Tensor, pool: Tensor, ratio: float, neighbours: int = 4, means: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Moves z (T, D) by `ratio` (0..1) towards the mean of its `nearest` frames in `pool` (P, D).

    After kNN-VC (Baas et al., 2023), with RVC's idea of a ratio. With `means`, those of the source and of the pool,
    (D,) each, z goes from one mean to the other by `ratio` before it moves towards its neighbours.
    """
    return moved(z, nearest(z, pool, neighbours, means).mean(pool), ratio, means) if ratio > 0 else z


def moved(z: Tensor, found: Tensor, ratio: float | Tensor, means: tuple[Tensor, Tensor] | None) -> Tensor:
    """z (T, D) moved by `ratio`, one for all or (T, 1), to `found` (T, D); see `retrieve`."""
    if means is not None:
        z = nn.functional.layer_norm(z + ratio * (means[1] - means[0]), z.shape[-1:])
    return z + ratio * (found - z)


def nearest(
    z: Tensor,
    pool: Tensor,
    neighbours: int,
    means: tuple[Tensor, Tensor] | None = None,
    products: Callable[[Tensor], Tensor] | None = None,
) -> Near:
    """The nearest `neighbours` (or all, if they are fewer) of `pool` (P, D) to each frame of z (T, D).

    What is near is said by the mean cosine of a frame and the NEIGHBOURHOOD before and after it: a frame alone is
    taken for another phone's more often. The nearest are weighted by the softmax of that over 0.1, as in kNN-VC. Both
    z and pool are rows of unit variance, so a product is the cosine.

    With `means`, those of the source and of the pool, (D,) each, what is near is said by what is left when each
    speaker's mean is taken away, for that is the speaker rather than the phone. `products` gives those of frames with
    each of `with_edges` of what the pool is compared by, `without` its mean or itself, where it was made ready before.
    """
    around = with_edges(z if means is None else without(z, means[0]))
    if products is None:
        products = partial(nn.functional.linear, weight=with_edges(pool if means is None else without(pool, means[1])))
    values, indices = [], []
    for start in range(0, len(z), _AT_ONCE):
        end = min(start + _AT_ONCE, len(z))
        near = products(around[start : end + 2 * NEIGHBOURHOOD])
        # A frame and those around it against the same of the pool lie on a diagonal.
        width = near.shape[1]
        similarity = near.as_strided((2 * NEIGHBOURHOOD + 1, end - start, len(pool)), (width + 1, width, 1)).sum(0)
        value, index = similarity.topk(min(neighbours, len(pool)), dim=-1)
        values.append(value)
        indices.append(index)
    scale = 0.1 * z.shape[-1] * (2 * NEIGHBOURHOOD + 1)
    return Near(torch.cat(indices), torch.softmax(torch.cat(values) / scale, dim=-1))


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
