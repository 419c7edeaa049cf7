"""What can be chosen. None, or what stands here as the default, is as usual; `client.system.info()` lists the words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal


@dataclass(frozen=True)
class Options:
    """How to convert; what is left out is as usual."""

    preset: str | None = None
    pitch: Literal["auto"] | float | None = None  # Semitones, or auto: to the voice's range
    retrieval: float | None = None
    protection: float | None = None
    envelope: float | None = None
    denoise: float | None = None
    formant: float | None = None  # Semitones
    high_pass: bool | None = None
    pitch_smoothing: float | None = None  # Milliseconds
    autotune: float | None = None
    scale: str | None = None
    retune: float | None = None  # Milliseconds
    f0_method: str | None = None
    format: str | None = None
    sample_rate: int | None = None
    loudness: float | None = None  # LUFS
    seed: int | None = None


@dataclass(frozen=True)
class Training:
    """How to train; what is left out is as the preset says."""

    preset: str = "balanced"
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    save_seconds: float | None = None
    patience: int | None = None
    precision: str | None = None
    denoise: float | None = None
    f0_method: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Terms:
    """What somebody agrees to."""

    full_name: str  # Of the speaker
    whose: str = "own"  # Your own voice, or one whose speaker permitted it
    speech: bool = True
    singing: bool = True
    commercial: bool = False
    expires_on: date | None = None  # The last day on which the voice may be used
