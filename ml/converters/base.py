"""What every converter is to the engine, and the words that they share: options, presets, results."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ml.converters.streaming import StreamOptions, VoiceStream

Samples = NDArray[np.float32]
Report = Callable[[float, str], None]
"""`report(fraction, stage)`: 0..1 of the whole work and words for the user; it may raise `ml.errors.Cancelled`."""

OUTPUT_FORMATS = ("wav16", "wav24", "flac", "mp3", "ogg", "m4a")
LOWEST_OUTPUT_RATE, HIGHEST_OUTPUT_RATE = 16_000, 48_000
LOWEST_BIT_RATE, HIGHEST_BIT_RATE = 32_000, 192_000


@dataclass(frozen=True)
class Preset:
    """How much work a voice's training and a conversion may be.

    `steps` of `batch` clips of `clip_seconds`; `adversarial_from` is the share of the steps after which the
    discriminators join in (1 = never); `neighbours` are the frames that retrieval mixes at conversion, and
    `measured_seconds` how much of a result, from its beginning, has its pitch measured. `rehearsed` is the weight of
    what the base could say before beside the spectral loss (`ml/rehearsal.py`).
    """

    name: str
    steps: int
    batch: int
    clip_seconds: float
    adversarial_from: float
    learning_rate: float
    neighbours: int
    measured_seconds: float
    rehearsed: float


FAST = Preset("fast", 100, 8, 1.0, 0.7, 4e-4, 4, 20.0, 0.25)
BALANCED = Preset("balanced", 150, 12, 1.0, 0.15, 4e-4, 4, 600.0, 0.25)
QUALITY = Preset("quality", 450, 12, 1.0, 0.1, 4e-4, 8, 3600.0, 0.25)
INSTANT = Preset("instant", 20, 8, 1.0, 1.0, 1e-3, 4, 20.0, 0.0)
"""What an instant voice is given: a few large steps by spectra alone. Not to be chosen: it is no training."""


@dataclass(frozen=True)
class TrainOptions:
    """How a voice is trained.

    `steps`, `batch` and `learning_rate` override the preset's. `precision` is a key of `ml.catalog.PRECISIONS`.
    `denoise`, 0..1, is how much of their noise and room is taken out of the takes that the voice learns to sound like.
    `save_seconds` is the longest time between two checkpoints, 1..15. `patience`, 0..24, is after how many checks in a
    row without a gain a training stops, 0 = never; a training no longer than its preset is checked six times only.
    """

    preset: str = "balanced"
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    precision: str = "auto"
    denoise: float = 0.5
    f0_method: str = "swift"
    seed: int = 0
    save_seconds: float = 10.0
    patience: int = 6


@dataclass(frozen=True)
class ConvertOptions:
    """How a source is converted.

    `pitch`: semitones up (+) or down (-), -24..24, or "auto": to the voice's range. `retrieval`: 0..1, how far the
    content moves to the nearest sounds of the voice's own recordings, and, a little less, its loudness to theirs.
    `denoise`: 0..1, how much of its noise and room is taken out of the source before its pitch, level and loudness are
    found.

    `formant`: semitones, -12..12, by which the spectral envelope moves while the pitch stays. `protection`: 0..1, how
    much of their own unvoiced frames (consonants, breath) keep: retrieval moves their content by `1 - protection` of
    its rate, and their level goes by `protection` of the way in dB to the source's. RVC's "protect" does the first
    alone, and counts down from 0.5 (off) to 0. `envelope`: 0..1, how far the result's level goes, in all frames, to
    that of the source: 0 is as the voice makes it, 1 the source's contour (RVC's "rms mix rate", the other way round).

    `pitch_smoothing`: ms, 0..100, as in `ml.pitch_editing.smooth`. `autotune`: 0..1, how far the pitch moves to the
    notes of `scale`, a key of `ml.catalog.SCALES`; `retune`: ms, 0..400, how slowly (0: at once, without vibrato), as
    in `ml.pitch_editing.tune`. Both edit the pitch after it was shifted. `high_pass` takes out what lies below the
    lowest pitch of the result.

    `sample_rate` of the result, 16000..48000; None is the source's, held within that range. `loudness` of the result in
    LUFS, or None for the source's. `bit_rate` of a lossy format in bit/s, 32000..192000; None is as its format has it.
    `tags` of the file: "title", "artist" and "comment".
    """

    pitch: float | Literal["auto"] = "auto"
    retrieval: float = 0.7
    denoise: float = 0.5
    formant: float = 0.0
    protection: float = 0.0
    envelope: float = 0.0
    pitch_smoothing: float = 0.0
    autotune: float = 0.0
    scale: str = "chromatic"
    retune: float = 50.0
    high_pass: bool = True
    preset: str = "balanced"
    f0_method: str = "swift"
    sample_rate: int | None = None
    format: str = "wav16"
    loudness: float | None = None
    bit_rate: int | None = None
    seed: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """One stop of a training: a point of the curve is {"step", "loss", "held_out"}; `sample` is a WAV made there.

    `resources` is the record so far, see `ml.resources`.
    """

    step: int
    steps: int
    seconds: float
    curve: list[dict[str, float]]
    sample: Path | None
    resources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainResult:
    """A finished voice file: measured on held-out takes (`metrics`), how it came about, and its sha256.

    `notes` are sentences on what did not go as planned; `resources` is the record of `ml.resources`.
    """

    path: Path
    metrics: dict[str, float]
    curve: list[dict[str, float]]
    seconds: float
    steps: int
    samples: list[Path]
    sha256: str
    notes: list[str] = field(default_factory=list)
    resources: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ConvertResult:
    """A finished conversion.

    `samples` is per channel at `sample_rate`; `curves` has equally long lists "times" (s), "source_f0" and
    "result_f0" (Hz, 0 = unvoiced, None = not measured, see `Preset`); `metrics` has f0_correlation, f0_rmse_cents,
    similarity, source_similarity (cosines by the engine's own speaker encoder), real_time_factor; `pitch` is the shift
    used, in semitones.
    """

    path: Path
    sample_rate: int
    samples: int
    channels: int
    seconds: float
    pitch: float
    curves: dict[str, list[float | None]]
    source_peaks: list[float]
    result_peaks: list[float]
    metrics: dict[str, float]


@dataclass(frozen=True)
class VoiceTraits:
    """What the engine must know of a voice: median f0 in Hz and spread, median level of its voiced frames in dB
    (A-weighted), the highest frequency in its recordings in Hz, the seconds it was made from, its embedding."""

    f0_median_hz: float
    f0_low_hz: float
    f0_high_hz: float
    level_db: float
    bandwidth_hz: float
    seconds: float
    embedding: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Piece:
    """A stretch of a source for a voice to render.

    `samples` (n,) at ANALYSIS_RATE; `f0` (T,) in Hz, already transposed, 0 where unvoiced, T = 1 + n // ANALYSIS_HOP;
    `loudness` (T,) is the A-weighted level in dB that it is to have, and `gain_db` what of it was added to the
    source's; `phase` (cycles) is where the first glottal period starts;
    `sample_rate` is the wanted rate, one of SYNTHESIS_RATES. `start` is the frame of the source that the piece
    begins with: noise depends on it and on `seed` alone, so that overlapping pieces have the same. `formant` is in
    semitones; unvoiced frames are moved by `1 - protection` of `retrieval`. `said` (T, width) is what `Voice.said`
    gives for these frames, and `mean` what `Voice.mean` gives for the source's loud ones.
    """

    samples: Samples
    f0: NDArray[np.float32]
    loudness: NDArray[np.float32]
    phase: float
    gain_db: float
    sample_rate: int
    retrieval: float
    neighbours: int
    seed: int
    start: int = 0
    formant: float = 0.0
    protection: float = 0.0
    said: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    mean: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


class Voice(ABC):
    """A voice file, opened."""

    traits: VoiceTraits

    @abstractmethod
    def said(self, samples: Samples) -> NDArray[np.float32]:
        """What is said in `samples` (n,) at ANALYSIS_RATE, as rows (1 + n // ANALYSIS_HOP, any width)."""

    @abstractmethod
    def mean(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What all of a source's `rows` (T, width), T > 0, have in common as its speaker's, (width,)."""

    @abstractmethod
    def render(self, piece: Piece) -> Samples:
        """The piece in this voice, (round(n * sample_rate / ANALYSIS_RATE),) at `piece.sample_rate`."""

    @abstractmethod
    def stream(self, sample_rate: int, options: StreamOptions) -> VoiceStream:
        """This voice for one stream rendered at `sample_rate`, one of SYNTHESIS_RATES."""


class Lesson(ABC):
    """One training in the making: what `ml.training.run` drives. Deterministic in (takes, options, step)."""

    steps: int

    @abstractmethod
    def prepare(self, report: Report) -> None:
        """Loads takes and computes features; `report` runs from 0 to 1 within this stage."""

    @abstractmethod
    def step(self, index: int) -> float:
        """One optimiser step, drawing its data by `index` alone; returns the training loss."""

    @abstractmethod
    def held_out(self) -> float:
        """The distance on takes that are not trained on; lower is better."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Tensors by name: weights and optimizer, all that `load_state` needs to go on."""

    @abstractmethod
    def load_state(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""

    @abstractmethod
    def shrink(self) -> bool:
        """Makes each step take less memory, from now on and after `load_state` of a later `state`; False at the least.

        First the batch halves; at one clip the clips become shorter.
        """

    @abstractmethod
    def size(self) -> str:
        """What a step takes, in words for the user: "4 clips of 1 s"."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Metrics of the present weights on takes that are not trained on."""

    @abstractmethod
    def save(self, out: Path) -> None:
        """Writes the voice file with the present weights."""


class Converter(ABC):
    """A way of converting. Built once per process; loads its weights on first use."""

    name: str

    @property
    @abstractmethod
    def same_speaker(self) -> float:
        """Cosine of an embedding with the mean of others above which they are taken for the same speaker."""

    @abstractmethod
    def warm(self) -> None:
        """Loads weights and runs everything once."""

    @abstractmethod
    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """Unit vector of who speaks in `samples` (n,) at ANALYSIS_RATE, n > 0."""

    @abstractmethod
    def clean(self, samples: Samples, strength: float, loud: float) -> Samples:
        """`samples` (n,) at ANALYSIS_RATE with less noise and room, by `strength` 0..1; silence stays silence.

        `loud` is the mean square of the loud frames of the recording that they are a part of.
        """

    @abstractmethod
    def lesson(self, takes: Sequence[Path], options: TrainOptions) -> Lesson:
        """A training on `takes`. Raises AudioError when they are too few."""

    @abstractmethod
    def instant(self, takes: Sequence[Path], out: Path, report: Report) -> dict[str, float]:
        """Writes a voice file after no more than a few seconds of work; returns metrics."""

    @abstractmethod
    def open(self, path: Path) -> Voice:
        """Opens a voice file. Raises WeightsError when it is damaged or another converter's."""
