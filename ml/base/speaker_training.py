"""Trains the speaker encoder to tell the training speakers apart, and measures it on the held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.base.loop import Part, Run, adamw, cosine, descend, run
from ml.base.prepare import Item
from ml.base.sampling import Piece, colour, cut, split_corpus, stack, to_analysis
from ml.config import ANALYSIS_RATE, ModelConfig
from ml.convnext import fast_precision
from ml.device import on_device
from ml.speaker import SpeakerEncoder
from ml.spectral import log_mel

FRAMES, SPEAKERS, RATE = 161, 28, 1.5e-3
SPEEDS = (0.84, 1.0, 1.0, 1.19)
"""A speaker played slower or faster counts as another speaker."""


class PairHead(nn.Module):
    """Two embeddings (B, D) of each of B speakers -> loss: which of all second ones belongs to a first, and back.

    The angular prototypical loss of Chung et al. (2020) with a learnt scale, both ways.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the cosines (B, B) it was made from."""
        cosines = first @ second.T
        scores, own = self.log_scale.exp() * cosines, torch.arange(len(first))
        there, back = nn.functional.cross_entropy(scores, own), nn.functional.cross_entropy(scores.T, own)
        return (there + back) / 2, cosines


class SpeakerTraining:
    """The networks and one step over a random batch."""

    def __init__(self, items: Sequence[Item], config: ModelConfig, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.config, self.steps, self.seed = config, steps, seed
        self.by_speaker = group(items)
        self.names = sorted(self.by_speaker)
        self.encoder, self.head = SpeakerEncoder(config), PairHead()
        self.networks = nn.ModuleList([self.encoder, self.head])
        self.optimiser = adamw(self.networks, RATE)

    def step(self, index: int) -> Mapping[str, Tensor]:
        """One update; returns the loss and the share of pieces given to the right speaker."""
        generator = np.random.default_rng([self.seed, index])
        first: list[Piece] = []
        second: list[Piece] = []
        count = min(SPEAKERS, len(self.names))
        for speaker in generator.choice(len(self.names), count, replace=False):
            spoken = self.by_speaker[self.names[speaker]]
            speed = float(generator.choice(SPEEDS))
            picked = generator.choice(len(spoken), 2, replace=len(spoken) < 2)
            for pieces, which in zip((first, second), picked, strict=True):
                pieces.append(cut(spoken[which], ANALYSIS_RATE, FRAMES, speed, generator))
        samples, _, _ = stack([*first, *second])
        mel = log_mel(colour(samples, generator), self.config.mel)
        with fast_precision():
            embedding = self.encoder(mel)
        loss, cosines = self.head(*embedding.chunk(2))
        descend(loss, self.networks, self.optimiser, RATE * cosine(index, self.steps), limit=5.0)
        right = (cosines.argmax(-1) == torch.arange(count)).float().mean()
        return {"loss": loss.detach(), "right": right}


def train_speaker(data: Path, work: Path, steps: int, seed: int) -> None:
    """Trains to `steps`, resuming `work/speaker.state`."""
    items, _ = split_corpus(data, work)
    training = SpeakerTraining(items, ModelConfig(), steps, seed)
    parts: dict[str, Part] = {"encoder": training.encoder, "head": training.head, "optimiser": training.optimiser}
    run(Run("speaker", work, steps, seed, parts), training.step)


def group(items: Sequence[Item]) -> dict[str, list[Item]]:
    """Items by speaker."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.utterance.speaker, []).append(item)
    return groups


def equal_error(encoder: SpeakerEncoder, items: Sequence[Item], per_speaker: int = 8) -> dict[str, float]:
    """Equal error rate and its threshold over all pairs of utterances, and each against its speaker's centroid.

    Utterances shorter than 2 s are left out. Speakers with one utterance serve as strangers only.
    """
    embedded: list[tuple[str, Tensor]] = []
    for speaker, spoken in group(items).items():
        for item in [item for item in spoken if item.utterance.seconds >= 2.0][:per_speaker]:
            samples = to_analysis(item.floats(), item.rate, len(item.f0))
            embedded.append((speaker, encoder.embed(on_device(samples))))
    pairs = [(float(a @ b), first == second) for (first, a), (second, b) in combinations(embedded, 2)]
    rate, threshold = _equal_error(pairs)
    names = sorted({speaker for speaker, _ in embedded})
    middles: list[tuple[float, bool]] = []
    for index, (speaker, embedding) in enumerate(embedded):
        for name in names:
            others = [e for i, (s, e) in enumerate(embedded) if s == name and i != index]
            if others:
                middle = nn.functional.normalize(torch.stack(others).mean(0), dim=-1)
                middles.append((float(embedding @ middle), name == speaker))
    centre_rate, centre_threshold = _equal_error(middles)
    return {
        "pair_eer": rate,
        "pair_threshold": threshold,
        "centroid_eer": centre_rate,
        "centroid_threshold": centre_threshold,
        "utterances": float(len(embedded)),
    }


def _equal_error(pairs: Sequence[tuple[float, bool]]) -> tuple[float, float]:
    score = np.array([value for value, _ in pairs])
    same = np.array([own for _, own in pairs])
    order: NDArray[np.int64] = np.argsort(score)
    missed = np.cumsum(same[order]) / max(1, same.sum())
    passed = 1 - np.cumsum(~same[order]) / max(1, (~same).sum())
    best = int(np.argmin(np.abs(missed - passed)))
    return float((missed[best] + passed[best]) / 2), float(score[order][best])
