"""Trains the decoder to rebuild recordings from what the encoders say of them.

First by spectra; then by what judges take for real, and by what a speech recogniser hears, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.base.cleaning import cleaned
from ml.base.content_training import WARPS
from ml.base.loop import Part, Run, adamw, cosine, descend, load_part, run
from ml.base.prepare import Item
from ml.base.sampling import Piece, colour, cut, probabilities, split_corpus, stack, to_analysis
from ml.base.speaker_training import group
from ml.base.teaching import Lessons, recogniser_weights
from ml.config import ANALYSIS_RATE, FRAME_RATE, ModelConfig
from ml.content import ContentEncoder
from ml.convnext import fast_precision
from ml.decoder import Decoder, synthesise
from ml.device import on_device
from ml.discriminators import Discriminators
from ml.enhancement import Enhancer
from ml.losses import adversarial_loss, discriminator_loss, feature_loss, spectral_loss
from ml.recogniser import WIDTH, Recogniser
from ml.retrieval import retrieve
from ml.speaker import SpeakerEncoder
from ml.spectral import loudness, mel_of_power, power

FRAMES, RATE, JUDGED_RATE = 101, 1e-3, 4e-4
BATCH, JUDGED_BATCH = 16, 10
SPEEDS = (0.71, 0.84, 1.0, 1.0, 1.0, 1.0, 1.0, 1.19, 1.41, 1.68, 2.0)
"""Slower and faster copies stand for lower and higher voices, up to the range of singing."""
SHARES = {
    16_000: {"librispeech": 0.85, "speechocean762": 0.15},
    24_000: {"rhasspy_kathleen": 0.35, "rhasspy_kerstin": 0.45, "rhasspy_nathalie": 0.2},
}
"""The cleaner a corpus, the more of it, for what the decoder rebuilds is how it will sound. DNSMOS OVRL of 20 of its
utterances each: 3.4, 2.7; 3.2, 3.3, 3.0."""
RATE_SHARES = {16_000: 0.6, 24_000: 0.4}
CLEAN_SHARE = 0.2
BORROWED_SHARE, BORROWED = 0.5, (0.3, 1.0)
"""How many pieces are said with another speaker's content, and how far towards it they are moved."""
RETURNED_SHARE, RETURNED = 0.5, 0.5
"""How many of those are moved back towards the speaker's own content, as conversion does, and how far."""
TAUGHT_SHARE = 0.7
"""How many pieces are said with the teacher's content of them; the others with the stream's encoder's, disturbed."""
POOL_SECONDS = 14
ADVERSARIAL, FEATURES, HEARD = 0.1, 0.2, 3.0


@dataclass(frozen=True)
class Batch:
    """What one step sees: targets (B, N) at `rate`, and the decoder's four inputs."""

    rate: int
    target: Tensor
    content: Tensor
    f0: Tensor
    level: Tensor
    speaker: Tensor
    bandwidth: Tensor


class Batches:
    """Random batches; content is taken from disturbed copies, so that the decoder learns not to trust its voice."""

    def __init__(
        self,
        items: Sequence[Item],
        config: ModelConfig,
        content: ContentEncoder,
        speaker: SpeakerEncoder,
        lessons: Lessons,
    ) -> None:
        self.config, self.content, self.speaker, self.lessons = config, content, speaker, lessons
        self.by_speaker = group(items)
        self.items = {
            rate: [item for item in items if item.utterance.corpus in shares] for rate, shares in SHARES.items()
        }
        self.items = {rate: chosen for rate, chosen in self.items.items() if chosen}
        self.chances = {rate: probabilities(chosen, SHARES[rate]) for rate, chosen in self.items.items()}
        self._voices: dict[tuple[str, float], Tensor] = {}
        self._pools: dict[str, Tensor] = {}
        self._lenders = sorted(self.by_speaker)

    def draw(self, size: int, generator: np.random.Generator) -> Batch:
        """`size` pieces of one sample rate, each at its own speed."""
        share = np.array([RATE_SHARES[rate] for rate in self.items])
        rate = int(generator.choice(list(self.items), p=share / share.sum()))
        chosen = generator.choice(len(self.items[rate]), size, p=self.chances[rate])
        speeds = [float(speed) for speed in generator.choice(SPEEDS, size)]
        pieces = [
            cut(self.items[rate][which], rate, FRAMES, speed, generator)
            for which, speed in zip(chosen, speeds, strict=True)
        ]
        return self._complete(pieces, speeds, rate, generator)

    def _complete(
        self, pieces: Sequence[Piece], speeds: Sequence[float], rate: int, generator: np.random.Generator
    ) -> Batch:
        target, f0, _ = stack(pieces)
        plain = on_device(np.stack([to_analysis(piece.samples, rate, FRAMES) for piece in pieces]))
        voices = [self.voice(p.item.utterance.speaker, s, generator) for p, s in zip(pieces, speeds, strict=True)]
        bandwidth = torch.tensor([rate / 2 * min(1.0, speed) * 0.97 for speed in speeds])
        content = self._content(plain, generator)
        for row, (piece, speed) in enumerate(zip(pieces, speeds, strict=True)):
            if generator.random() < TAUGHT_SHARE:
                content[row] = on_device(self.lessons.of(piece))
            if generator.random() < BORROWED_SHARE:
                content[row] = self._borrowed(content[row], piece.item.utterance.speaker, speed, generator)
        return Batch(rate, target, content, f0, loudness(plain), torch.stack(voices), bandwidth)

    @torch.no_grad()
    def _content(self, plain: Tensor, generator: np.random.Generator) -> Tensor:
        disturbed = colour(plain, generator)
        clean = on_device(generator.random((len(plain), 1)) < CLEAN_SHARE)
        spectrum = power(torch.where(clean, plain, disturbed), self.config.mel.n_fft, self.config.mel.window)
        mel = torch.cat(
            [
                mel_of_power(row[None], self.config.mel, 1.0 if kept else float(generator.choice(WARPS)))
                for row, kept in zip(spectrum, clean[:, 0].tolist(), strict=True)
            ]
        )
        with fast_precision():
            z: Tensor = self.content(mel)
        return z

    def _borrowed(self, content: Tensor, speaker: str, speed: float, generator: np.random.Generator) -> Tensor:
        """Content (T, dimensions) as another speaker has it, sometimes brought back by the speaker's own frames.

        This is what a conversion hands to the decoder: phones of one voice with what the encoder left of it.
        """
        own, lender = self.pool(speaker), self.pool(self._lenders[int(generator.integers(len(self._lenders)))])
        share, mean = float(generator.uniform(*BORROWED)), own.mean(0)
        content = retrieve(content, lender, share, means=(mean, lender.mean(0)))
        if speed == 1.0 and generator.random() < RETURNED_SHARE:
            between = mean + share * (lender.mean(0) - mean)
            content = retrieve(content, own, RETURNED, means=(between, mean))
        return content

    @torch.no_grad()
    def pool(self, speaker: str) -> Tensor:
        """The teacher's content (frames, dimensions) of up to POOL_SECONDS of a speaker, read once."""
        if speaker not in self._pools:
            found: list[NDArray[np.float32]] = []
            for item in self.by_speaker[speaker]:
                found.append(self.lessons.whole(item))
                if sum(map(len, found)) >= POOL_SECONDS * FRAME_RATE:
                    break
            self._pools[speaker] = on_device(np.concatenate(found)[: POOL_SECONDS * FRAME_RATE])
        return self._pools[speaker]

    def voice(self, speaker: str, speed: float, generator: np.random.Generator) -> Tensor:
        """The speaker's embedding at a speed: mean over up to 2 pieces of 3 s, made once."""
        key = (speaker, speed)
        if key not in self._voices:
            spoken = self.by_speaker[speaker]
            picked = generator.choice(len(spoken), min(2, len(spoken)), replace=False)
            pieces = [cut(spoken[which], ANALYSIS_RATE, 3 * FRAME_RATE + 1, speed, generator) for which in picked]
            embedded = [self.speaker.embed(on_device(piece.samples)) for piece in pieces]
            self._voices[key] = nn.functional.normalize(torch.stack(embedded).mean(0), dim=-1)
        return self._voices[key]


class DecoderTraining:
    """The decoder, its judges once they are wanted, and one step over a random batch."""

    def __init__(self, batches: Batches, recogniser: Recogniser, steps: int, judged_from: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.batches, self.recogniser = batches, recogniser
        self.steps, self.judged_from, self.seed = steps, judged_from, seed
        self.decoder, self.judges = Decoder(batches.config), Discriminators()
        self.optimiser, self.judge_optimiser = adamw(self.decoder, RATE), adamw(self.judges, RATE)

    def step(self, index: int) -> Mapping[str, Tensor]:
        """One update of the decoder and, from `judged_from` on, of the judges; returns the losses."""
        generator = np.random.default_rng([self.seed, index])
        judged = index >= self.judged_from
        batch = self.batches.draw(JUDGED_BATCH if judged else BATCH, generator)
        with fast_precision():
            gains = self.decoder(batch.content, batch.f0, batch.level, batch.speaker)
        phase = on_device(generator.random(len(batch.f0)))
        made = synthesise(gains, batch.f0, batch.rate, batch.target.shape[-1], self.batches.config, phase=phase)
        spectra = spectral_loss(made, batch.target, batch.rate, batch.bandwidth)
        if not judged:
            descend(spectra, self.decoder, self.optimiser, RATE * cosine(index, self.judged_from, floor=0.4))
            return {"spectra": spectra.detach()}
        return self._judged_step(index, batch, made, spectra)

    def _judged_step(self, index: int, batch: Batch, made: Tensor, spectra: Tensor) -> Mapping[str, Tensor]:
        done, length = index - self.judged_from, self.steps - self.judged_from
        rate = JUDGED_RATE * cosine(done, length, floor=0.1)
        with fast_precision():
            real_scores, real_features = self.judges(batch.target, batch.rate)
            made_scores, _ = self.judges(made.detach(), batch.rate)
        judging = discriminator_loss(real_scores, made_scores)
        descend(judging, self.judges, self.judge_optimiser, 2 * rate, limit=5.0)
        with fast_precision():
            scores, features = self.judges(made, batch.rate)
        fooling = adversarial_loss(scores)
        likeness = feature_loss([[f.detach() for f in layers] for layers in real_features], features)
        unheard = heard_loss(self.recogniser, made, batch.target, batch.rate)
        total = spectra + ADVERSARIAL * fooling + FEATURES * likeness + HEARD * unheard
        descend(total, self.decoder, self.optimiser, rate)
        return {
            "unheard": unheard.detach(),
            "spectra": spectra.detach(),
            "judging": judging.detach(),
            "fooling": fooling.detach(),
            "likeness": likeness.detach(),
        }


def heard_loss(recogniser: Recogniser, output: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """How much else a speech recogniser hears in (B, N) than in (B, N), a scalar: one minus the mean cosine of what its
    layers say of each frame. As in phone-fortified perceptual loss (Hsieh et al., 2021), with another recogniser.

    A spectrum may be near and its phone another, or far and its phone the same.
    """
    with fast_precision():
        with torch.no_grad():
            wanted = recogniser.heard(at_analysis_rate(target, sample_rate))
        made = recogniser.heard(at_analysis_rate(output, sample_rate))
    shape = (*made.shape[:-1], -1, WIDTH)
    return 1 - nn.functional.cosine_similarity(made.float().view(shape), wanted.float().view(shape), dim=-1).mean()


def at_analysis_rate(samples: Tensor, sample_rate: int) -> Tensor:
    """Sound (B, N) at ANALYSIS_RATE, of a `sample_rate` not below it: its spectrum above is left out.

    A piece is taken for a period of an endless sound, so its edges hear each other, for a millisecond.
    """
    length = round(samples.shape[-1] * ANALYSIS_RATE / sample_rate)
    spectrum = torch.fft.rfft(samples)[..., : length // 2 + 1]
    resampled: Tensor = torch.fft.irfft(spectrum, n=length) * (length / samples.shape[-1])
    return resampled


def frozen_encoders(work: Path, config: ModelConfig) -> tuple[ContentEncoder, SpeakerEncoder]:
    """The trained content and speaker encoders of `work`, for use only."""
    content, speaker = ContentEncoder(config), SpeakerEncoder(config)
    load_part(work, "content", "encoder", content)
    load_part(work, "speaker", "encoder", speaker)
    content.eval().requires_grad_(False)
    speaker.eval().requires_grad_(False)
    return content, speaker


def trained_enhancer(work: Path, config: ModelConfig) -> Enhancer:
    """The trained enhancer of `work`, for use only."""
    enhancer = Enhancer(config)
    load_part(work, "enhancer", "enhancer", enhancer)
    return enhancer.eval().requires_grad_(False)


def train_decoder(data: Path, work: Path, steps: int, judged_from: int, seed: int) -> None:
    """Trains to `steps`, resuming `work/decoder.state`; needs content, speaker and enhancer to be trained.

    Raises EngineError where the recogniser's package is not installed.
    """
    config = ModelConfig()
    items, _ = split_corpus(data, work)
    items = cleaned(items, trained_enhancer(work, config), work)
    batches = Batches(items, config, *frozen_encoders(work, config), Lessons(data, work))
    recogniser = Recogniser().eval().requires_grad_(False)
    recogniser.load_state_dict(recogniser_weights())
    training = DecoderTraining(batches, recogniser, steps, judged_from, seed)
    parts: dict[str, Part] = {
        "decoder": training.decoder,
        "judges": training.judges,
        "optimiser": training.optimiser,
        "judge_optimiser": training.judge_optimiser,
    }
    run(Run("decoder", work, steps, seed, parts), training.step)
