"""Sizes of the networks and constants of the signal path: frozen, saved in every weights file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ml.errors import WeightsError

FRAME_RATE = 100
"""Frames per second of everything: mel, f0, loudness, content. Frame t is centred at t / FRAME_RATE seconds."""
ANALYSIS_RATE = 16_000
"""Sample rate of the signal that content, speaker, loudness and pitch are taken from, in Hz."""
ANALYSIS_HOP = ANALYSIS_RATE // FRAME_RATE
SYNTHESIS_RATES = (16_000, 24_000, 44_100, 48_000)
"""Sample rates that the decoder can write: multiples of FRAME_RATE."""


@dataclass(frozen=True)
class MelConfig:
    """Log-mel analysis at ANALYSIS_RATE, by Hann windows of `window` samples in an FFT of `n_fft`."""

    bands: int = 80
    low_hz: float = 50.0
    high_hz: float = 7600.0
    n_fft: int = 1024
    window: int = 400
    floor: float = 1e-5


@dataclass(frozen=True)
class ContentConfig:
    """The encoder of what is said."""

    width: int = 256
    expansion: int = 3
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4, 1, 1)
    dimensions: int = 64


@dataclass(frozen=True)
class SpeakerConfig:
    """The encoder of who says it."""

    width: int = 160
    expansion: int = 2
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 2, 3, 4, 1)
    attention: int = 64
    dimensions: int = 192


@dataclass(frozen=True)
class DecoderConfig:
    """The source-filter decoder; bands are mel-spaced from 0 to `top_hz`."""

    width: int = 256
    expansion: int = 3
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 1, 2, 1, 1, 1)
    speaker_hidden: int = 128
    harmonic_bands: int = 160
    noise_bands: int = 80
    noise_channels: int = 4
    top_hz: float = 24_000.0


@dataclass(frozen=True)
class EnhancerConfig:
    """The network that hears what is noise and room in a recording at ANALYSIS_RATE."""

    n_fft: int = 512
    width: int = 192
    expansion: int = 2
    kernel: int = 7
    dilations: tuple[int, ...] = (1, 2, 4, 8, 4, 2)


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build the networks that a weights file belongs to."""

    mel: MelConfig = field(default_factory=MelConfig)
    content: ContentConfig = field(default_factory=ContentConfig)
    speaker: SpeakerConfig = field(default_factory=SpeakerConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    enhancer: EnhancerConfig = field(default_factory=EnhancerConfig)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`. Raises WeightsError for unknown or missing fields."""
        parts = {
            "mel": MelConfig,
            "content": ContentConfig,
            "speaker": SpeakerConfig,
            "decoder": DecoderConfig,
            "enhancer": EnhancerConfig,
        }
        try:
            if set(saved) != set(parts):
                raise KeyError(sorted(saved))
            values = {name: part(**_tuples(saved[name])) for name, part in parts.items()}
        except (TypeError, KeyError, AttributeError) as error:
            raise WeightsError("The model's configuration is not one that this version knows.") from error
        return cls(**values)


def _tuples(saved: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
