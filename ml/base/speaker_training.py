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
from ml.base.sampling import colour, cut, split_corpus, stack, to_analysis
from ml.config import ANALYSIS_RATE, ModelConfig
from ml.convnext import fast_precision
from ml.speaker import SpeakerEncoder
from ml.spectral import log_mel

FRAMES, BATCH, RATE = 201, 32, 1.5e-3
SPEEDS = (0.84, 1.0, 1.19)
"""A speaker played slower or faster counts as another speaker: three times as many to tell apart."""
MARGIN, SCALE = 0.2, 24.0


class MarginHead(nn.Module):
    """Embeddings (B, D) and speakers (B,) -> loss: additive angular margin (Deng et al., 2019)."""

    def __init__(self, dimensions: int, speakers: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(speakers, dimensions))

    def forward(self, embedding: Tensor, speaker: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        """The loss, and the cosines (B, speakers) it was made from."""
        cosine_of = embedding @ nn.functional.normalize(self.centres, dim=-1).T
        angle = torch.acos(cosine_of.clamp(-1 + 1e-6, 1 - 1e-6))
        own = nn.functional.one_hot(speaker, cosine_of.shape[-1])
        loss = nn.functional.cross_entropy(SCALE * torch.cos(angle + margin * own), speaker)
        return loss, cosine_of


class SpeakerTraining:
    """The networks and one step over a random batch."""

    def __init__(self, items: Sequence[Item], config: ModelConfig, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.config, self.steps, self.seed = config, steps, seed
        self.by_speaker = group(items)
        self.names = sorted(self.by_speaker)
        self.encoder = SpeakerEncoder(config)
        self.head = MarginHead(config.speaker.dimensions, len(self.names) * len(SPEEDS))
        self.networks = nn.ModuleList([self.encoder, self.head])
        self.optimiser = adamw(self.networks, RATE)

    def step(self, index: int) -> Mapping[str, Tensor]:
        """One update; returns the loss and the share of pieces given to the right speaker."""
        generator = np.random.default_rng([self.seed, index])
        speakers = generator.choice(len(self.names), BATCH)
        speeds = generator.choice(len(SPEEDS), BATCH)
        pieces = []
        for speaker, speed in zip(speakers, speeds, strict=True):
            spoken = self.by_speaker[self.names[speaker]]
            item = spoken[int(generator.integers(len(spoken)))]
            pieces.append(cut(item, ANALYSIS_RATE, FRAMES, SPEEDS[speed], generator))
        samples, _, _ = stack(pieces)
        mel = log_mel(colour(samples, generator), self.config.mel)
        # The margin grows from nothing, or the first steps learn to collapse.
        margin = MARGIN * min(1.0, max(0.0, index / self.steps - 0.2) / 0.3)
        classes = torch.from_numpy(speakers * len(SPEEDS) + speeds)
        with fast_precision():
            embedding = self.encoder(mel)
        loss, cosines = self.head(embedding, classes, margin)
        descend(loss, self.networks, self.optimiser, RATE * cosine(index, self.steps), limit=5.0)
        return {"loss": loss.detach(), "right": (cosines.argmax(-1) == classes).float().mean()}


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
            embedded.append((speaker, encoder.embed(torch.from_numpy(samples))))
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
