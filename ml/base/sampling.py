"""Random pieces of the packed corpus, changed in speed and colour, as batches at one sample rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.base.corpus import held_out_speakers
from ml.base.labels import UNLABELLED
from ml.base.prepare import Item, load_pack
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE
from ml.device import on_device


@dataclass(frozen=True)
class Piece:
    """One piece: samples (N,) at `rate`, f0 and labels (T,), T = 1 + N // hop, and the item it is from.

    `source` (T,) says which of the item's frames each frame is; -1 after the item's end.
    """

    samples: NDArray[np.float32]
    f0: NDArray[np.float32]
    labels: NDArray[np.int8]
    item: Item
    source: NDArray[np.intp]


def split_corpus(data: Path, work: Path, samples: str = "samples") -> tuple[list[Item], list[Item]]:
    """All packed items: those of training speakers, and those of held-out speakers; `samples` as in `load_pack`."""
    items = load_pack(data, work, samples)
    held_out = set(held_out_speakers(item.utterance for item in items))
    kept = [item for item in items if item.utterance.speaker not in held_out]
    return kept, [item for item in items if item.utterance.speaker in held_out]


def probabilities(items: Sequence[Item], shares: Mapping[str, float]) -> NDArray[np.float64]:
    """How often each item is drawn: corpora get their `shares`, within a corpus by length."""
    weight = np.array([item.utterance.seconds for item in items])
    corpus = np.array([item.utterance.corpus for item in items])
    for name in np.unique(corpus):
        weight[corpus == name] *= shares[name] / weight[corpus == name].sum()
    chances: NDArray[np.float64] = weight / weight.sum()
    return chances


def cut(item: Item, rate: int, frames: int, speed: float, generator: np.random.Generator) -> Piece:
    """A random piece of (frames - 1) hops at `rate`, played `speed` times as fast: tempo, pitch and formants move.

    A recording that is too short is followed by silence.
    """
    hop = item.rate // FRAME_RATE
    needed = int(np.ceil((frames - 1) * speed))
    spare = len(item.f0) - 1 - needed
    start = int(generator.integers(0, spare + 1)) if spare > 0 else 0
    raw = item.samples[start * hop : (start + needed) * hop].astype(np.float32) / 32767
    if item.rate * speed != rate:
        raw = soxr.resample(raw, item.rate * speed, rate, quality="LQ")
    length = (frames - 1) * (rate // FRAME_RATE)
    samples = np.zeros(length, np.float32)
    samples[: min(length, len(raw))] = raw[:length]
    source = start + np.round(np.arange(frames) * speed).astype(int)
    inside = source < len(item.f0)
    source = np.minimum(source, len(item.f0) - 1)
    unlabelled = item.labels[0] == UNLABELLED
    labels = np.where(inside, item.labels[source], UNLABELLED if unlabelled else 0).astype(np.int8)
    f0 = np.where(inside, item.f0[source] * speed, 0).astype(np.float32)
    return Piece(samples, f0, labels, item, np.where(inside, source, -1))


def colour(samples: Tensor, generator: np.random.Generator, noise_share: float = 0.5) -> Tensor:
    """(B, N) at ANALYSIS_RATE with a random 7-point equaliser (sigma 3 dB), gain, and coloured noise at 8-50 dB."""
    batch, length = samples.shape
    bins = length // 2 + 1
    spectrum = torch.fft.rfft(samples)
    spectrum = spectrum * curve(batch, bins, 3.0, generator)
    level = samples.square().mean(-1, keepdim=True).sqrt()
    noise = torch.fft.irfft(torch.fft.rfft(torch.randn(batch, length)) * curve(batch, bins, 8.0, generator), n=length)
    noise = noise / noise.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
    drop = on_device(generator.uniform(8, 50, (batch, 1)).astype(np.float32))
    use = on_device((generator.random((batch, 1)) < noise_share).astype(np.float32))
    gain = on_device((10 ** (generator.normal(0, 5, (batch, 1)) / 20)).astype(np.float32))
    coloured: Tensor = torch.fft.irfft(spectrum, n=length) + use * noise * level * 10 ** (-drop / 20)
    return gain * coloured


def curve(batch: int, bins: int, sigma_db: float, generator: np.random.Generator) -> Tensor:
    """Random smooth amplitudes (batch, bins) of a 7-point equaliser, each point of `sigma_db` around 0 dB."""
    points = on_device(generator.normal(0, sigma_db, (batch, 1, 7)).astype(np.float32))
    # Finer at the bottom, where speech has most of its detail: points are even on a square-root scale.
    smooth = torch.nn.functional.interpolate(points, size=512, mode="linear", align_corners=True)[:, 0]
    index = (torch.linspace(0, 1, bins).sqrt() * 511).long()
    amplitude: Tensor = 10 ** (smooth[:, index] / 20)
    return amplitude


def stack(pieces: Sequence[Piece]) -> tuple[Tensor, Tensor, Tensor]:
    """Samples (B, N), f0 (B, T) and labels (B, T, int64) of pieces of one length and rate."""
    samples = on_device(np.stack([piece.samples for piece in pieces]))
    f0 = on_device(np.stack([piece.f0 for piece in pieces]))
    labels = on_device(np.stack([piece.labels for piece in pieces]).astype(np.int64))
    return samples, f0, labels


def analysis_length(frames: int) -> int:
    """Samples at ANALYSIS_RATE of a piece of `frames` frames."""
    return (frames - 1) * ANALYSIS_HOP


def analysed(item: Item) -> NDArray[np.float32]:
    """The whole utterance (N,) at ANALYSIS_RATE."""
    samples = item.floats()
    return samples if item.rate == ANALYSIS_RATE else soxr.resample(samples, item.rate, ANALYSIS_RATE, quality="MQ")


def to_analysis(samples: NDArray[np.float32], rate: int, frames: int) -> NDArray[np.float32]:
    """One piece (N,) at `rate` as (analysis_length(frames),) at ANALYSIS_RATE."""
    length = analysis_length(frames)
    out = np.zeros(length, np.float32)
    raw = samples if rate == ANALYSIS_RATE else soxr.resample(samples, rate, ANALYSIS_RATE, quality="MQ")
    out[: min(length, len(raw))] = raw[:length]
    return out
