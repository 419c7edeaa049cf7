"""The native converter's training: the base decoder, adapted to one voice on its takes.

Content is taken from several copies of each take, so that what is left of the speaker in it stays unreliable: warped,
coloured and noisy ones, and ones whose frames are borrowed from other speakers and partly brought back by the other
takes, as conversion does with a stranger's. The loss is spectral; in the adversarial part of the training the base's
discriminators join in. They stay as they are: they know clean speech, and would learn the takes' noise if they went on.
All the while the decoder rehearses what it could say before (`ml/rehearsal.py`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ml import colour, voicefile
from ml.audio import Samples, frame_levels, load, resample
from ml.catalog import PRECISIONS, PRESETS
from ml.colour import Said
from ml.config import ANALYSIS_RATE, FRAME_RATE, SYNTHESIS_RATES
from ml.converters.base import Lesson, Preset, Report, TrainOptions, VoiceTraits
from ml.copies import borrowed, heard, thinned
from ml.dataset import TakeSet, load_takes, traits_of
from ml.decoder import synthesise
from ml.device import available_bytes, kind, on_device, to_array
from ml.enhancement import enhanced, loud_power
from ml.errors import AudioError
from ml.losses import adversarial_loss, feature_loss, spectral_loss
from ml.parallel import alone, in_order, side_by_side
from ml.rehearsal import Rehearsal
from ml.retrieval import QUIET_DB
from ml.weights import Base

ADVERSARIAL, FEATURES = 0.1, 0.2
PARTS = 2  # in which a step's batch is worked on, a thread each: within one product a second thread brings little
JUDGED = 3  # clips of a part whose middle halves the discriminators see: more costs much, and brought nothing
HELD_OUT_SHARE, HELD_OUT_SECONDS = 0.1, 8.0
SHORTEST_CLIP = 0.25  # seconds; where memory is short clips become no shorter
POOL_FRAMES = 30_000
LENDERS = 4
LENDERS_SECONDS = 600.0  # with more speech than this each take borrows from one lender only: memory, and no need
_STEP_BYTES, _SAMPLE_BYTES = 500_000_000, 1000  # a step's peak, whatever its batch, and for each sample in it; measured
COPIES_POOL = 12_000  # frames of the other takes that copies are made with


@dataclass(frozen=True)
class Part:
    """Clips (take, first frame) of a batch, which copy of each, and what is drawn for them.

    `phases` (B,) in cycles, `noise` (B, T, noise channels) and `white` (B, N) for the decoder and the synthesis,
    `rehearsed` what the rehearsal drew; `share` is the part's of the batch.
    """

    clips: Sequence[tuple[int, int]]
    copies: Sequence[int]
    phases: Tensor
    noise: Tensor
    white: Tensor
    share: float
    rehearsed: Tensor | None = None


class Adaptation(Lesson):
    """See the module's description. `takes` are mono WAV or FLAC files; `preset` is that of `options` if not given."""

    def __init__(
        self, base: Base, embed: Any, takes: Sequence[Path], options: TrainOptions, preset: Preset | None = None
    ) -> None:
        self.preset: Preset = preset or PRESETS[options.preset].load()
        self.base, self.embed, self.takes, self.options = base, embed, takes, options
        self.steps = options.steps or self.preset.steps
        self.batch = options.batch or self.preset.batch
        self.clip_seconds = self.preset.clip_seconds
        self.precision = PRECISIONS[options.precision].load()
        self.peak_rate = options.learning_rate or self.preset.learning_rate
        self.decoder = copy.deepcopy(base.decoder).train().requires_grad_(True)
        self.optimiser = torch.optim.AdamW(
            self.decoder.parameters(), self.peak_rate, (0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.data: TakeSet
        self.traits: VoiceTraits
        self.rehearsal: Rehearsal | None = None
        self.rate = SYNTHESIS_RATES[0]
        self.targets: list[Tensor] = []
        self.copies: list[Tensor] = []
        self.held: list[int] = []
        self.clips: list[tuple[int, int]] = []
        self.held_clips: list[tuple[int, int]] = []

    def prepare(self, report: Report) -> None:
        """Reads the takes and computes every copy's content once, as many takes at once as there are threads."""
        with alone() as threads:
            self.data = load_takes(
                self.takes,
                self.options.f0_method,
                lambda samples: self._clean(samples, ANALYSIS_RATE),
                lambda part, stage: report(0.4 * part, stage),
                threads,
            )
            self.traits = traits_of(self.data, self.embed)
            self.rate = next(rate for rate in SYNTHESIS_RATES if rate >= 2 * self.traits.bandwidth_hz - 1)
            self._copy(report, threads)
        self._split()
        if self.preset.rehearsed:
            self.rehearsal = Rehearsal(self.base, self.traits, self.options.seed)
        self.batch = fitted(self.batch, self.preset.clip_seconds * self.rate, available_bytes())
        report(1.0, "Preparing the takes")

    def _copy(self, report: Report, threads: int) -> None:
        """The targets and every copy's content: first what each take gives alone, then what the others add to it."""
        count, plain = len(self.takes), []
        with closing(in_order(self._own, range(count), threads)) as made:
            for target, copies in made:
                self.targets.append(target)
                self.copies.append(copies)
                plain.append(copies[0])
                report(0.4 + 0.4 * len(plain) / count, "Preparing the takes")

        def all_of(index: int) -> Tensor:
            others = [z for other, z in enumerate(plain) if other != index] or [plain[index]]
            kin = thinned(torch.cat(others), COPIES_POOL)
            generator = np.random.default_rng([self.options.seed, 3, index])
            lenders = LENDERS if self.data.seconds <= LENDERS_SECONDS else 1
            return torch.cat([self.copies[index], borrowed(self.base, plain[index], kin, lenders, generator)]).half()

        with closing(in_order(all_of, range(count), threads)) as whole:
            for index, copies in enumerate(whole):
                self.copies[index] = copies
                report(0.8 + 0.2 * (index + 1) / count, "Preparing the takes")

    def _own(self, index: int) -> tuple[Tensor, Tensor]:
        """A take as it is to sound, and its content as it is and disturbed."""
        own, own_rate = load(self.takes[index])
        target = on_device(self._clean(resample(own, own_rate, self.rate), self.rate))
        generator = np.random.default_rng([self.options.seed, index])
        return target, heard(self.base, self.data.samples[index], generator)

    def _clean(self, samples: Samples, rate: int) -> Samples:
        """A take (N,) at `rate` with less noise and room than was recorded: what the voice is to sound like."""
        loud = loud_power(frame_levels(samples, rate))
        return enhanced(self.base.enhancer, samples, rate, self.options.denoise, loud)

    def _split(self) -> None:
        """Clips (take, first frame) to train on, and others, from the ends of the last takes, to hold out."""
        size = _frames(self.preset.clip_seconds)
        wanted = int(min(HELD_OUT_SECONDS, HELD_OUT_SHARE * self.data.seconds) * FRAME_RATE)
        self.held = [0] * len(self.takes)
        for index in reversed(range(len(self.takes))):
            frames = len(self.data.f0[index]) - 1
            held = min(frames // 2 if len(self.takes) < 4 else frames, max(0, wanted))
            wanted -= held
            self.held[index] = held
            self.held_clips += [(index, first) for first in range(frames - held, frames - size + 2, size)]
        self._cut()
        if not self.clips:
            raise AudioError("The takes are all shorter than a second; record whole sentences.")
        if not self.held_clips:
            self.held_clips = self.clips[:1]

    def _cut(self) -> None:
        """Clips of `clip_seconds` to train on, in front of what is held out."""
        size = _frames(self.clip_seconds)
        self.clips = []
        for index in reversed(range(len(self.takes))):
            last = len(self.data.f0[index]) - 1 - self.held[index] - size + 2
            self.clips += [(index, first) for first in range(0, last, size // 4)]

    def shrink(self) -> bool:
        """See `Lesson.shrink`. The held-out clips keep their length, so that checks stay comparable."""
        if self.batch > 1:
            self.batch //= 2
        elif self.clip_seconds > SHORTEST_CLIP:
            self.clip_seconds = max(SHORTEST_CLIP, self.clip_seconds / 2)
            self._cut()
        else:
            return False
        return True

    def size(self) -> str:
        """See `Lesson.size`."""
        return f"{self.batch} clip{'s' * (self.batch != 1)} of {self.clip_seconds:g} s"

    def step(self, index: int) -> float:
        """One step on a random batch; from the preset's share of the steps on, with discriminators.

        Its parts are worked on side by side. How many they are does not depend on the threads, nor does the result.
        """
        generator = np.random.default_rng([self.options.seed, 7, index])
        torch.manual_seed(self.options.seed * 1_000_003 + index)
        chosen = generator.integers(0, len(self.clips), self.batch)
        frames = _frames(self.clip_seconds)
        jitter = generator.integers(0, frames // 4, self.batch)
        clips = [(self.clips[which][0], self.clips[which][1] + int(j)) for which, j in zip(chosen, jitter, strict=True)]
        copies = [int(generator.integers(0, len(self.copies[take]))) for take, _ in clips]
        parts = self._parts(clips, copies, on_device(generator.random(len(clips))), frames)
        if self.rehearsal:
            drawn = self.rehearsal.drawn(generator)
            parts = [replace(part, rehearsed=some) for part, some in zip(parts, drawn.chunk(len(parts)), strict=True)]
        judged = index >= self.preset.adversarial_from * self.steps
        found = side_by_side(partial(self._slopes, judged=judged), parts)
        slopes = [sum(of_parts) for of_parts in zip(*(some for _, some in found), strict=True)]
        _descend(slopes, self.decoder, self.optimiser, self.peak_rate * _schedule(index, self.steps))
        return sum(loss for loss, _ in found)

    def _parts(
        self, clips: Sequence[tuple[int, int]], copies: Sequence[int], phases: Tensor, frames: int
    ) -> list[Part]:
        """A batch of clips of `frames` frames in parts, with noise drawn for each."""
        count, length = len(clips), (frames - 1) * self.rate // FRAME_RATE
        noise, white = torch.randn(count, frames, self.decoder.noise_channels), torch.randn(count, length)
        whole = min(count, 1 if kind() == "cuda" else PARTS)
        borders = [round(at * count / whole) for at in range(whole + 1)]
        return [
            Part(clips[a:b], copies[a:b], phases[a:b], noise[a:b], white[a:b], (b - a) / count)
            for a, b in pairwise(borders)
        ]

    def _slopes(self, part: Part, judged: bool) -> tuple[float, tuple[Tensor, ...]]:
        """A part's share of the batch's spectral loss, and of the slope of all that is minimised."""
        target, made = self._render(part)
        loss = spectral_loss(made, target, self.rate, self._bandwidth(len(made)))
        total = loss
        if self.rehearsal and part.rehearsed is not None:
            with self.precision():
                total = total + self.preset.rehearsed * self.rehearsal.distance(self.decoder, part.rehearsed)
        if judged:
            quarter = made.shape[1] // 4
            total = total + self._judged(*(one[:JUDGED, quarter:-quarter] for one in (target, made)))
        return part.share * float(loss.detach()), torch.autograd.grad(
            part.share * total, list(self.decoder.parameters())
        )

    def _judged(self, target: Tensor, made: Tensor) -> Tensor:
        judges = self.base.discriminators
        with self.precision():
            with torch.no_grad():
                _, real = judges(target, self.rate)
            scores, features = judges(made, self.rate)
        return ADVERSARIAL * adversarial_loss(scores) + FEATURES * feature_loss(real, features)

    def _render(self, part: Part) -> tuple[Tensor, Tensor]:
        """Targets and rebuilt clips, both (B, N) at the training rate."""
        frames, length, hop = part.noise.shape[1], part.white.shape[1], self.rate // FRAME_RATE
        target = torch.stack([_span(self.targets[take], first * hop, length) for take, first in part.clips])
        content = torch.stack(
            [
                _span(self.copies[take][which], first, frames)
                for (take, first), which in zip(part.clips, part.copies, strict=True)
            ]
        ).float()
        f0 = torch.stack([_span(on_device(self.data.f0[take]), first, frames) for take, first in part.clips])
        level = torch.stack([_span(on_device(self.data.loudness[take]), first, frames) for take, first in part.clips])
        speaker = torch.tensor(self.traits.embedding).expand(len(target), -1)
        with self.precision():
            gains = self.decoder(content, f0, level, speaker, part.noise)
        return target, synthesise(gains, f0, self.rate, length, self.base.config, white=part.white, phase=part.phases)

    def _bandwidth(self, count: int) -> Tensor:
        return torch.full((count,), 0.97 * self.traits.bandwidth_hz)

    def _held_parts(self) -> list[Part]:
        """The clips that are held out, always with the same noise."""
        torch.manual_seed(0)
        clips = self.held_clips[:16]
        return self._parts(clips, [0] * len(clips), torch.zeros(len(clips)), _frames(self.preset.clip_seconds))

    def held_out(self) -> float:
        """Spectral loss plus the base discriminators' feature distance on held-out clips.

        The features count because the spectral loss alone prefers a smooth, dull voice.
        """

        @torch.no_grad()
        def distance(part: Part) -> float:
            target, made = self._render(part)
            loss = spectral_loss(made, target, self.rate, self._bandwidth(len(made)))
            _, real = self.base.discriminators(target, self.rate)
            _, rebuilt = self.base.discriminators(made, self.rate)
            return part.share * float(loss + feature_loss(real, rebuilt))

        return sum(side_by_side(distance, self._held_parts()))

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """See `Lesson.measure`: the held-out distance, and the rebuilt clips' similarity to the voice."""
        made = torch.cat([self._render(part)[1] for part in self._held_parts()])
        sound = resample(to_array(made.flatten()), self.rate, ANALYSIS_RATE)
        similarity = float(self.embed(sound) @ np.array(self.traits.embedding, np.float32))
        return {"held_out": self.held_out(), "similarity": similarity, "seconds_of_speech": self.data.seconds}

    def state(self) -> dict[str, Tensor]:
        """See `Lesson.state`."""
        found = {f"decoder.{name}": value for name, value in self.decoder.state_dict().items()}
        for number, values in self.optimiser.state_dict()["state"].items():
            found |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in values.items()}
        return found | {"batch": torch.tensor(self.batch), "clip_seconds": torch.tensor(self.clip_seconds)}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Lesson.load_state`. Batch and clips too go on as they were, whatever memory there is now."""
        self.batch, self.clip_seconds = int(state["batch"]), float(state["clip_seconds"])
        self._cut()
        decoder = {name: value for name, value in state.items() if name.startswith("decoder.")}
        self.decoder.load_state_dict({name.removeprefix("decoder."): value for name, value in decoder.items()})
        values: dict[int, dict[str, Tensor]] = {}
        for name, value in state.items():
            if name.startswith("optimiser."):
                _, number, field = name.split(".")
                values.setdefault(int(number), {})[field] = value
        self.optimiser.load_state_dict(self.optimiser.state_dict() | {"state": values})

    def save(self, out: Path) -> None:
        """See `Lesson.save`. The voice gets its takes' colour; the weights that are trained on stay as they are."""
        decoder = copy.deepcopy(self.decoder)
        colour.match(
            decoder,
            self._said(),
            on_device(np.array(self.traits.embedding, np.float32)),
            self.rate,
            self.traits.level_db,
            0.97 * self.traits.bandwidth_hz,
            self.base.config,
        )
        tensors = {f"decoder.{name}": value for name, value in decoder.state_dict().items()}
        voicefile.write(out, "native", tensors | self._pool(), self.traits, {"base": self.base.version})

    def _said(self) -> list[Said]:
        """The beginnings of takes from first to last, as many seconds in all as the voice's colour is measured on."""
        found, hop = [], self.rate // FRAME_RATE
        chosen = {round(at) for at in np.linspace(0, len(self.takes) - 1, min(len(self.takes), colour.TAKES))}
        for index in sorted(chosen):
            frames = min(int(colour.SECONDS / len(chosen) * FRAME_RATE), len(self.data.f0[index]) - 1)
            f0, level = (on_device(one[index])[: frames + 1] for one in (self.data.f0, self.data.loudness))
            content = self.copies[index][0, : frames + 1].float()
            found.append(Said(content, f0, level, _span(self.targets[index], 0, frames * hop)))
        return found

    def _pool(self) -> dict[str, Tensor]:
        """Content of the takes as they are and its level, without pauses, thinned out evenly to `POOL_FRAMES`."""
        content = torch.cat([copies[0].float() for copies in self.copies])
        levels = on_device(np.concatenate(self.data.loudness)) - self.traits.level_db
        spoken = levels > QUIET_DB
        return {"pool": thinned(content[spoken], POOL_FRAMES), "levels": thinned(levels[spoken], POOL_FRAMES)}


def _frames(seconds: float) -> int:
    return int(seconds * FRAME_RATE) + 1


def fitted(batch: int, clip_samples: float, available: int) -> int:
    """`batch`, or as many clips of `clip_samples` as `available` bytes hold, and at least one."""
    return max(1, min(batch, int((available - _STEP_BYTES) / (clip_samples * _SAMPLE_BYTES))))


def _schedule(index: int, steps: int) -> float:
    """Share of the learning rate: up over 10 steps, then down a cosine to a twentieth."""
    return min(1.0, (index + 1) / 10) * (0.05 + 0.475 * (1 + math.cos(math.pi * index / max(1, steps))))


def _descend(slopes: Sequence[Tensor], network: nn.Module, optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate
    for parameter, slope in zip(network.parameters(), slopes, strict=True):
        parameter.grad = slope
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()


def _span(values: Tensor, start: int, length: int) -> Tensor:
    """`length` entries from `start` along the first axis, zeros where there are none."""
    found = values[start : start + length]
    if len(found) == length:
        return found
    return torch.cat([found, found.new_zeros(length - len(found), *found.shape[1:])])
