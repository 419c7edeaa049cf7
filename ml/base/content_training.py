"""Trains the content encoder: phones of two thirds of the corpus, and all of it by rebuilding undisturbed mels.

Then, taught: it learns to hear in a disturbed piece what its teacher hears in the recording (`ml/base/teaching.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ml.base.labels import PHONES, UNLABELLED
from ml.base.loop import Run, adamw, cosine, descend, run
from ml.base.prepare import Item
from ml.base.sampling import Piece, colour, cut, probabilities, split_corpus, stack
from ml.base.teaching import Lessons
from ml.config import ANALYSIS_RATE, ModelConfig
from ml.content import ContentEncoder
from ml.convnext import ConvNeXtBlock, fast_precision
from ml.device import on_device
from ml.spectral import log_mel, loudness, mel_of_power, power

SHARES = {
    "librispeech": 0.25,
    "speechocean762": 0.45,
    "rhasspy_kathleen": 0.17,
    "rhasspy_kerstin": 0.06,
    "rhasspy_nathalie": 0.07,
}
FRAMES, BATCH, RATE = 251, 8, 1.5e-3
TAUGHT_RATE = 1e-3
WARPS = tuple(float(warp) for warp in np.geomspace(0.8, 1.25, 23))
Z_NOISE = 0.2
MEL_SHARE = 0.3
AGREEMENT = 1.0
"""Weights of the rebuilding and of the two views' agreement beside the phones' cross entropy."""
TAUGHT_PHONES = 0.1
"""Weight of the phones' cross entropy beside the distance to the teacher's content."""


class PhoneHead(nn.Module):
    """Content (B, T, dimensions) -> phone scores (B, T, phones); used in training only."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dimensions, 160), nn.GELU(), nn.Linear(160, len(PHONES)))

    def forward(self, z: Tensor) -> Tensor:
        scores: Tensor = self.layers(z)
        return scores


class MelHead(nn.Module):
    """Content, f0, loudness and the utterance's mean mel -> its mels (B, T, bands); used in training only.

    The mean mel tells who speaks and through what channel, so that the content need not.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = 192
        self.enter = nn.Linear(config.content.dimensions + 3 + config.mel.bands, width)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, 2, 7, 1) for _ in range(3))
        self.leave = nn.Linear(width, config.mel.bands)

    def forward(self, z: Tensor, f0: Tensor, level: Tensor, mean: Tensor) -> Tensor:
        pitch = torch.log2(f0.clamp_min(20) / 200) * (f0 > 0)
        x = torch.cat(
            [
                z,
                pitch[..., None],
                (f0 > 0).float()[..., None],
                (level[..., None] + 35) / 15,
                (mean[:, None].expand(-1, z.shape[1], -1) + 5) / 3,
            ],
            dim=-1,
        )
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        mel: Tensor = self.leave(x)
        return mel


class ContentTraining:
    """The networks and one step over a random batch."""

    def __init__(
        self,
        items: Sequence[Item],
        config: ModelConfig,
        steps: int,
        seed: int,
        lessons: Lessons | None = None,
        taught_from: int | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.items, self.config, self.steps, self.seed = items, config, steps, seed
        self.lessons, self.taught_from = lessons, steps if taught_from is None else taught_from
        self.encoder, self.phones, self.mels = (
            ContentEncoder(config),
            PhoneHead(config.content.dimensions),
            MelHead(config),
        )
        self.networks = nn.ModuleList([self.encoder, self.phones, self.mels])
        self.optimiser = adamw(self.networks, RATE)
        self.chances = probabilities(items, SHARES)

    def step(self, index: int) -> Mapping[str, Tensor]:
        """One update; returns the losses and the frame accuracy."""
        generator = np.random.default_rng([self.seed, index])
        if self.lessons is not None and index >= self.taught_from:
            return self._taught(index, self.lessons, generator)
        return self._untaught(index, generator)

    def _untaught(self, index: int, generator: np.random.Generator) -> Mapping[str, Tensor]:
        """One update on two views of each piece, disturbed independently.

        That both views must give the same content takes the speaker out of it, as in ContentVec (Qian et al., 2022).
        """
        samples, f0, labels = stack(self._pieces(BATCH, generator))
        target, level = log_mel(samples, self.config.mel), loudness(samples)
        views = torch.cat([self._disturb(samples, generator), self._disturb(samples, generator)])
        labels, target, f0, level = labels.repeat(2, 1), target.repeat(2, 1, 1), f0.repeat(2, 1), level.repeat(2, 1)
        with fast_precision():
            z = self.encoder(views)
            noisy = z + Z_NOISE * torch.randn_like(z)
            scores = self.phones(noisy).float()
            rebuilt = self.mels(noisy, f0, level, target.mean(1)).float()
        phone_loss, accuracy = phones_wrong(scores, labels)
        mel_loss = (rebuilt - target).abs().mean()
        first, second = z.float().chunk(2)
        disagreement = 1 - nn.functional.cosine_similarity(first, second, dim=-1).mean()
        loss = phone_loss + MEL_SHARE * mel_loss + AGREEMENT * disagreement
        descend(loss, self.networks, self.optimiser, RATE * cosine(index, self.taught_from))
        return {
            "phones": phone_loss.detach(),
            "mels": mel_loss.detach(),
            "disagreement": disagreement.detach(),
            "accuracy": accuracy,
        }

    def _taught(self, index: int, lessons: Lessons, generator: np.random.Generator) -> Mapping[str, Tensor]:
        """One update on one disturbed view of twice as many pieces, held against the teacher's undisturbed content."""
        pieces = self._pieces(2 * BATCH, generator)
        samples, _, labels = stack(pieces)
        inside = on_device(np.stack([piece.source >= 0 for piece in pieces]))
        wanted = on_device(np.stack([lessons.of(piece) for piece in pieces]))
        views = self._disturb(samples, generator)
        with fast_precision():
            z = self.encoder(views)
            scores = self.phones(z + Z_NOISE * torch.randn_like(z)).float()
        phone_loss, accuracy = phones_wrong(scores, labels)
        distance = 1 - nn.functional.cosine_similarity(z.float(), wanted, dim=-1)[inside].mean()
        rate = TAUGHT_RATE * cosine(index - self.taught_from, self.steps - self.taught_from)
        descend(distance + TAUGHT_PHONES * phone_loss, self.networks, self.optimiser, rate)
        return {"distance": distance.detach(), "phones": phone_loss.detach(), "accuracy": accuracy}

    def _pieces(self, count: int, generator: np.random.Generator) -> list[Piece]:
        chosen = generator.choice(len(self.items), count, p=self.chances)
        speeds = np.exp(generator.uniform(np.log(0.82), np.log(1.28), count))
        return [
            cut(self.items[which], ANALYSIS_RATE, FRAMES, float(speed), generator)
            for which, speed in zip(chosen, speeds, strict=True)
        ]

    def _disturb(self, samples: Tensor, generator: np.random.Generator) -> Tensor:
        spectrum = power(colour(samples, generator), self.config.mel.n_fft, self.config.mel.window)
        warps = generator.choice(len(WARPS), len(samples))
        mel = torch.cat(
            [mel_of_power(row[None], self.config.mel, WARPS[warp]) for row, warp in zip(spectrum, warps, strict=True)]
        )
        for row in mel:
            start, width = int(generator.integers(0, FRAMES - 12)), int(generator.integers(0, 12))
            row[start : start + width] = row.mean()
        return mel


def phones_wrong(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross entropy of phone scores (B, T, phones) over labelled frames, and the share of those that are right."""
    known = labels != UNLABELLED
    errors = nn.functional.cross_entropy(
        scores.flatten(0, 1), labels.flatten(), ignore_index=UNLABELLED, label_smoothing=0.05, reduction="sum"
    )
    # A batch may hold no labelled piece at all; the mean over nothing would be no number.
    count = known.sum().clamp_min(1)
    return errors / count, ((scores.argmax(-1) == labels) & known).sum() / count


def train_content(data: Path, work: Path, steps: int, seed: int, taught_from: int | None = None) -> None:
    """Trains to `steps`, resuming `work/content.state`; from `taught_from` on by what `teach` wrote to `work`."""
    items, _ = split_corpus(data, work)
    lessons = None if taught_from is None else Lessons(data, work)
    training = ContentTraining(items, ModelConfig(), steps, seed, lessons, taught_from)
    parts = {"encoder": training.encoder, "phones": training.phones, "mels": training.mels}
    run(Run("content", work, steps, seed, {**parts, "optimiser": training.optimiser}), training.step)


@torch.no_grad()
def frame_accuracy(encoder: ContentEncoder, phones: PhoneHead, items: Sequence[Item], count: int = 150) -> float:
    """Share of frames whose phone is the aligned one, over up to `count` labelled utterances, undisturbed."""
    labelled = [item for item in items if item.labels[0] != UNLABELLED]
    labelled = labelled[:: max(1, len(labelled) // count)][:count]
    right = total = 0
    generator = np.random.default_rng(0)
    for item in labelled:
        samples, _, labels = stack([cut(item, ANALYSIS_RATE, len(item.f0), 1.0, generator)])
        with fast_precision():
            scores = phones(encoder(log_mel(samples, encoder.config.mel)))
        right += int((scores.argmax(-1) == labels).sum())
        total += labels.numel()
    return right / max(1, total)
