"""The smallest converter that trains: one gain curve over a pulse train at the source's pitch.

It goes through the same doors as the real ones, in a second instead of minutes, so the tests of everything
around the engine use it. The sound is a buzz that follows pitch and envelope of the source, coloured as the voice.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml import voicefile
from ml.catalog import PRESETS
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE, MelConfig, ModelConfig
from ml.converters.base import Converter, Lesson, Piece, Preset, Report, Samples, TrainOptions, Voice, VoiceTraits
from ml.converters.streaming import HOP_FRAMES, MARGIN_FRAMES, StreamOptions, VoiceStream, Window
from ml.dataset import TakeSet, load_takes, traits_of
from ml.decoder import Gains, fft_size, pulses
from ml.device import on_device
from ml.noise import placed
from ml.spectral import bend, hann, log_mel
from ml.stream_synthesis import LEAD_FRAMES, SynthesisStream

_MEL = MelConfig(bands=48)
_REFERENCE = -5.0  # a flat spectrum at an ordinary level, in the units of `log_mel`


class ToyConverter(Converter):
    """See the module's description."""

    name = "toy"
    same_speaker = 0.5  # two mean spectra of one voice are more alike than that

    def warm(self) -> None:
        """Nothing to load."""

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """The mean log-mel spectrum about its own mean, as a unit vector (48,)."""
        mean = log_mel(on_device(samples)[None], _MEL)[0].mean(0)
        centred = mean - mean.mean()
        return np.asarray(centred / centred.norm().clamp_min(1e-6), np.float32)

    def clean(self, samples: Samples, strength: float, loud: float) -> Samples:
        """The samples as they are: a buzz needs no clean source."""
        return samples

    def lesson(self, takes: Sequence[Path], options: TrainOptions) -> Lesson:
        """A training of the gain curve; see `Converter.lesson`."""
        return _ToyLesson(self, takes, options)

    def instant(self, takes: Sequence[Path], out: Path, report: Report) -> dict[str, float]:
        """The mean spectrum itself as the gain curve."""
        lesson = _ToyLesson(self, takes, TrainOptions(steps=1))
        lesson.prepare(report)
        lesson.curve = lesson.mels.mean(0)
        lesson.save(out)
        return lesson.measure()

    def open(self, path: Path) -> Voice:
        """See `Converter.open`."""
        tensors, traits, _ = voicefile.read(path, self.name)
        return _ToyVoice(tensors["curve"], traits)


class _ToyLesson(Lesson):
    def __init__(self, converter: ToyConverter, takes: Sequence[Path], options: TrainOptions) -> None:
        preset: Preset = PRESETS[options.preset].load()
        self.converter, self.takes, self.options = converter, takes, options
        self.steps = options.steps or preset.steps
        self.rate = 0.1
        self.batch = 256
        self.curve = torch.full((_MEL.bands,), _REFERENCE)
        self.mels = torch.zeros(0, _MEL.bands)
        self.data: TakeSet

    def prepare(self, report: Report) -> None:
        """Reads the takes; every eighth frame is held out."""
        self.data = load_takes(self.takes, self.options.f0_method, lambda samples: samples, report)
        mels = torch.cat([log_mel(on_device(samples)[None], _MEL)[0] for samples in self.data.samples])
        keep = torch.arange(len(mels)) % 8 != 0
        self.mels, self.other = mels[keep], mels[~keep]

    def step(self, index: int) -> float:
        """One step of gradient descent on the squared distance to a batch of frames."""
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + index)
        batch = self.mels[torch.randint(len(self.mels), (self.batch,), generator=generator)]
        distance = self.curve - batch
        self.curve = self.curve - self.rate * distance.mean(0)
        return float(distance.square().mean())

    def held_out(self) -> float:
        """Mean squared distance to the held-out frames."""
        return float((self.curve - self.other).square().mean())

    def state(self) -> dict[str, Tensor]:
        """The curve, and how many frames a step takes."""
        return {"curve": self.curve, "batch": torch.tensor(self.batch)}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `Lesson.load_state`."""
        self.curve, self.batch = on_device(state["curve"]), int(state["batch"])

    def shrink(self) -> bool:
        """Halves the frames of a step; see `Lesson.shrink`."""
        if self.batch == 1:
            return False
        self.batch //= 2
        return True

    def size(self) -> str:
        """See `Lesson.size`."""
        return f"{self.batch} frames"

    def measure(self) -> dict[str, float]:
        """See `Lesson.measure`."""
        return {"held_out": self.held_out()}

    def save(self, out: Path) -> None:
        """See `Lesson.save`."""
        traits = traits_of(self.data, self.converter.embed)
        voicefile.write(out, "toy", {"curve": self.curve}, traits, {})


class _ToyVoice(Voice):
    def __init__(self, curve: Tensor, traits: VoiceTraits) -> None:
        self.gains = curve - curve.mean()
        self.traits = traits

    def said(self, samples: Samples) -> Samples:
        """See `Voice.said`: nothing, this converter asks for none."""
        return np.zeros((1 + len(samples) // ANALYSIS_HOP, 0), np.float32)

    def mean(self, rows: Samples) -> Samples:
        """See `Voice.mean`."""
        return np.zeros(rows.shape[1], np.float32)

    def render(self, piece: Piece) -> Samples:
        """Pulses (voiced) or noise (unvoiced) under the source's mel envelope plus the curve."""
        rate = piece.sample_rate
        length = round(len(piece.samples) * rate / ANALYSIS_RATE)
        f0 = on_device(piece.f0)[None]
        train, _ = pulses(f0, rate, length, torch.tensor([piece.phase], dtype=torch.float64))
        voiced = torch.nn.functional.interpolate((f0 > 0).float()[None], size=length)[0]
        white = placed(piece.seed, 1, piece.start, f0.shape[1], rate // FRAME_RATE).reshape(1, -1)[:, :length]
        source = train + white * (1 - voiced)
        envelope = log_mel(on_device(piece.samples)[None], _MEL) + 0.5 * self.gains
        envelope = envelope + piece.gain_db * np.log(10) / 20 - 3.0
        return np.asarray(_shape(source, envelope, rate, length, piece.formant)[0], np.float32)

    def stream(self, sample_rate: int, options: StreamOptions) -> VoiceStream:
        """See `Voice.stream`."""
        return _ToyStream(self.gains, sample_rate, options.seed)


class _ToyStream(VoiceStream):
    _CONFIG = ModelConfig()

    def __init__(self, curve: Tensor, sample_rate: int, seed: int) -> None:
        self._curve = curve
        self._synthesis = SynthesisStream(sample_rate, HOP_FRAMES, self._CONFIG, _MEL.high_hz, seed)
        self.delay = self._synthesis.delay

    def render(self, windows: Sequence[Window]) -> Samples:
        """Pulses (voiced) or noise (unvoiced) under the source's mel envelope plus the curve."""
        return np.concatenate([self._hop(window) for window in windows])

    def _hop(self, window: Window) -> Samples:
        frames = slice(MARGIN_FRAMES, MARGIN_FRAMES + HOP_FRAMES)
        envelope = log_mel(on_device(window.samples)[None], _MEL)[:, frames] + 0.5 * self._curve
        envelope = envelope + window.gain_db * np.log(10) / 20 - 3.0
        f0, sizes = on_device(window.f0), self._CONFIG.decoder
        harmonic, noise = (
            torch.nn.functional.interpolate(envelope, bands, mode="linear")
            for bands in (sizes.harmonic_bands, sizes.noise_bands)
        )
        voiced = (f0[:HOP_FRAMES] > 0)[None, :, None]
        gains = Gains(harmonic, noise.masked_fill(voiced, -14.0))
        return self._synthesis(gains, window.f0[: HOP_FRAMES + LEAD_FRAMES])


def _shape(source: Tensor, envelope: Tensor, rate: int, length: int, formant: float) -> Tensor:
    """Filters `source` (1, length) with a log-amplitude `envelope` (1, T, bands), moved up by `formant` semitones."""
    size, hop = fft_size(rate), rate // 100
    spectrum = torch.stft(source, size, hop, size, hann(size), pad_mode="constant", return_complex=True)
    bins = spectrum.shape[1]
    hertz = bend(torch.linspace(0, rate / 2, bins), 2.0 ** (-formant / 12))
    low, high = 2595 * np.log10(1 + _MEL.low_hz / 700), 2595 * np.log10(1 + _MEL.high_hz / 700)
    mel = 2595 * torch.log10(1 + hertz / 700)
    position = ((mel - low) / (high - low) * (_MEL.bands - 1)).clamp(0, _MEL.bands - 1)
    left = position.floor().long().clamp(max=_MEL.bands - 2)
    share = position - left
    logs = envelope[..., left] * (1 - share) + envelope[..., left + 1] * share
    logs = logs.masked_fill(hertz > _MEL.high_hz, -12.0)
    shaped = spectrum * torch.exp(logs).transpose(1, 2)
    return torch.istft(shaped, size, hop, size, hann(size), length=length)
