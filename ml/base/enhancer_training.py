"""Trains the enhancer: clean recordings, made noisy and put into rooms, are to come back clean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.activity import pauses
from ml.audio import frame_levels
from ml.base.loop import Part, Run, adamw, cosine, descend, run
from ml.base.prepare import Item
from ml.base.sampling import curve, cut, probabilities, split_corpus, stack
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, ModelConfig
from ml.convnext import fast_precision
from ml.device import on_device, to_array
from ml.enhancement import Enhancer, loud_power, masked
from ml.losses import spectral_loss
from ml.spectral import power

SHARES = {"librispeech": 0.6, "rhasspy_kathleen": 0.12, "rhasspy_kerstin": 0.18, "rhasspy_nathalie": 0.1}
"""The clean corpora; what is noisy lends its pauses."""
FRAMES, BATCH, RATE = 251, 12, 1.5e-3
SPEEDS = (0.84, 0.92, 1.0, 1.0, 1.0, 1.09, 1.19, 1.41)
NOISE_FFT = 1024
LEAST_PAUSE, ROOMS, ROOM_SHARE = 40, 400, 0.6
SNR_DB, HUM_SHARE, CLEAN_SHARE = (0.0, 40.0), 0.2, 0.1
REVERBERANT_SHARE, DECAY_SECONDS, DIRECT_DB = 0.5, (0.08, 0.8), (-2.0, 14.0)


class EnhancerTraining:
    """The network and one step over a random batch."""

    def __init__(self, items: Sequence[Item], config: ModelConfig, steps: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.clean = [item for item in items if item.utterance.corpus in SHARES]
        self.chances = probabilities(self.clean, SHARES)
        self.rooms = room_noises(items, ROOMS)
        self.config, self.steps, self.seed = config, steps, seed
        self.enhancer = Enhancer(config)
        self.optimiser = adamw(self.enhancer, RATE)

    def step(self, index: int) -> Mapping[str, Tensor]:
        """One update; returns the loss, and what it would be with the recordings left as they are."""
        loss, before = self.losses(np.random.default_rng([self.seed, 11, index]))
        descend(loss, self.enhancer, self.optimiser, RATE * cosine(index, self.steps))
        return {"loss": loss.detach(), "untouched": before}

    def losses(self, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Spectral loss of a random batch after the enhancer, and before it."""
        target, heard = self.draw(BATCH, generator)
        size = self.config.enhancer.n_fft
        with fast_precision():
            gains = self.enhancer(power(heard, size, size), torch.stack([_loud(row) for row in heard]))
        loss = spectral_loss(masked(heard, gains, ANALYSIS_RATE), target, ANALYSIS_RATE)
        return loss, spectral_loss(heard, target, ANALYSIS_RATE).detach()

    def draw(self, size: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Clean pieces (size, N) at ANALYSIS_RATE and the same with noise and room, equally coloured and loud."""
        chosen = generator.choice(len(self.clean), size, p=self.chances)
        pieces = [
            cut(self.clean[which], ANALYSIS_RATE, FRAMES, float(generator.choice(SPEEDS)), generator)
            for which in chosen
        ]
        target, _, _ = stack(pieces)
        length = target.shape[-1]
        colour = curve(size, length // 2 + 1, 3.0, generator)
        level = on_device(10 ** (generator.normal(0, 5, (size, 1)) / 20)).float()
        target = torch.fft.irfft(torch.fft.rfft(target) * colour, n=length) * level
        heard = torch.stack([_in_a_room(row, generator) for row in target])
        noise = torch.stack([self._noise(length, generator) for _ in range(size)])
        drop = on_device(generator.uniform(*SNR_DB, (size, 1))).float()
        drop = torch.where(on_device(generator.random((size, 1)) < CLEAN_SHARE), torch.tensor(90.0), drop)
        loud = heard.square().mean(-1, keepdim=True).sqrt()
        return target, heard + noise * loud * 10 ** (-drop / 20)

    def _noise(self, length: int, generator: np.random.Generator) -> Tensor:
        """Noise (length,) of power 1: coloured at random or as in a recorded room, swelling slowly, some with hum."""
        white = on_device(generator.standard_normal(length)).float()
        if self.rooms and generator.random() < ROOM_SHARE:
            shape = on_device(self.rooms[int(generator.integers(len(self.rooms)))])[None, None]
            shape = torch.nn.functional.interpolate(shape, size=length // 2 + 1, mode="linear")[0]
        else:
            shape = curve(1, length // 2 + 1, 8.0, generator)
        noise = torch.fft.irfft(torch.fft.rfft(white) * shape[0], n=length)
        noise = noise / noise.square().mean().sqrt().clamp_min(1e-9)
        if generator.random() < HUM_SHARE:
            noise = noise + _hum(length, generator)
        swell = on_device(generator.normal(0, generator.uniform(0, 6), 6)).float()[None, None]
        swell = torch.nn.functional.interpolate(swell, size=length, mode="linear", align_corners=True)[0, 0]
        noise = noise * 10 ** (swell / 20)
        level = noise.square().mean().sqrt().clamp_min(1e-9)
        swelling: Tensor = noise / level
        return swelling


def _loud(samples: Tensor) -> Tensor:
    return torch.tensor(max(loud_power(frame_levels(to_array(samples), ANALYSIS_RATE)), 1e-10))


def _hum(length: int, generator: np.random.Generator) -> Tensor:
    """Mains hum (length,) with 8 harmonics."""
    base = float(generator.choice((50.0, 60.0)))
    times = np.arange(length) / ANALYSIS_RATE
    tones = [
        generator.uniform(0, 1) / k * np.sin(2 * np.pi * (k * base * times + generator.random())) for k in range(1, 9)
    ]
    return on_device(np.sum(tones, axis=0) * generator.uniform(0.3, 2.0)).float()


def _in_a_room(samples: Tensor, generator: np.random.Generator) -> Tensor:
    """(N,) with the tail of a room in REVERBERANT_SHARE of the cases: noise that dies away (Moorer, 1979)."""
    if generator.random() >= REVERBERANT_SHARE:
        return samples
    decay, direct = generator.uniform(*DECAY_SECONDS), generator.uniform(*DIRECT_DB)
    count = int(decay * ANALYSIS_RATE)
    times = np.arange(count) / ANALYSIS_RATE
    tail = generator.standard_normal(count) * 10 ** (-3 * times / decay)
    tail[: int(generator.uniform(0.002, 0.01) * ANALYSIS_RATE)] = 0
    tail *= 10 ** (-direct / 20) / max(1e-9, float(np.sqrt(np.square(tail).sum())))
    size = 1 << (len(samples) + count - 1).bit_length()
    spectrum = torch.fft.rfft(samples, n=size) * torch.fft.rfft(on_device(tail).float(), n=size)
    reverberant: Tensor = samples + torch.fft.irfft(spectrum, n=size)[: len(samples)]
    return reverberant


def room_noises(items: Sequence[Item], count: int) -> list[NDArray[np.float32]]:
    """Mean magnitudes (NOISE_FFT // 2 + 1,) of the pauses of up to `count` utterances at ANALYSIS_RATE."""
    found: list[NDArray[np.float32]] = []
    noisy = [item for item in items if item.rate == ANALYSIS_RATE and item.utterance.corpus not in SHARES]
    for item in noisy[:: max(1, len(noisy) // count)]:
        samples = item.floats()
        quiet = np.flatnonzero(pauses(item.f0, frame_levels(samples, ANALYSIS_RATE)[: len(item.f0)]))
        if len(quiet) < LEAST_PAUSE:
            continue
        starts = np.minimum(quiet * ANALYSIS_HOP, len(samples) - NOISE_FFT)
        frames = np.stack([samples[start : start + NOISE_FFT] for start in np.maximum(starts, 0)])
        power_mean = np.square(np.abs(np.fft.rfft(frames * np.hanning(NOISE_FFT), axis=1))).mean(0)
        found.append(np.sqrt(power_mean).astype(np.float32))
    return found


@torch.no_grad()
def cleaning(enhancer: Enhancer, items: Sequence[Item], count: int = 8) -> dict[str, float]:
    """Mean spectral loss of noisy and reverberant speech of `items` against the clean one, before and after.

    Nothing when none of `items` is of a clean corpus.
    """
    if not any(item.utterance.corpus in SHARES for item in items):
        return {}
    bench = EnhancerTraining(items, enhancer.config, 1, 0)
    bench.enhancer = enhancer
    sums = {"before": 0.0, "after": 0.0}
    for index in range(count):
        after, before = bench.losses(np.random.default_rng([0, index]))
        sums["before"] += float(before) / count
        sums["after"] += float(after) / count
    return sums


def train_enhancer(data: Path, work: Path, steps: int, seed: int) -> None:
    """Trains to `steps`, resuming `work/enhancer.state`."""
    items, _ = split_corpus(data, work, "clean")
    training = EnhancerTraining(items, ModelConfig(), steps, seed)
    parts: dict[str, Part] = {"enhancer": training.enhancer, "optimiser": training.optimiser}
    run(Run("enhancer", work, steps, seed, parts), training.step)
