"""The native converter on a stream: the networks' pasts, the glottal phase and the overlap-add of one voice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml.catalog import PRESETS
from ml.config import ANALYSIS_HOP, FRAME_RATE, ModelConfig
from ml.content import ContentEncoder
from ml.converters.base import VoiceTraits
from ml.converters.streaming import (
    HOP_FRAMES,
    MARGIN_FRAMES,
    WINDOW_FRAMES,
    StreamOptions,
    VoiceStream,
    Window,
)
from ml.decoder import Decoder, sharpened
from ml.device import on_device
from ml.fused import Linear
from ml.rendering import LOUD_DB
from ml.retrieval import NEIGHBOURHOOD, Pool, speaker_mean, with_edges, without
from ml.spectral import mel_of_power, power_at
from ml.stream_networks import ContentStream, DecoderStream
from ml.stream_synthesis import LEAD_FRAMES, SynthesisStream

REMEMBERED_FRAMES = 30 * FRAME_RATE


class NativeStream(VoiceStream):
    """See `VoiceStream`."""

    @torch.inference_mode()
    def __init__(
        self,
        config: ModelConfig,
        encoder: ContentEncoder,
        decoder: Decoder,
        pool: Pool,
        traits: VoiceTraits,
        sample_rate: int,
        options: StreamOptions,
    ) -> None:
        self._config, self._pool, self._bandwidth_hz = config, pool, traits.bandwidth_hz
        self._retrieval, self._neighbours = options.retrieval, PRESETS[options.preset].load().neighbours
        rows = with_edges(without(pool.content, pool.mean))
        self._likeness = Linear(rows, torch.zeros(len(rows)), WINDOW_FRAMES + 2 * NEIGHBOURHOOD, torch.float32)
        self._level_db = traits.level_db
        self._sum, self._count = torch.zeros_like(pool.mean), 0
        self._content = ContentStream(encoder, HOP_FRAMES, WINDOW_FRAMES)
        self._decoder = DecoderStream(decoder, torch.tensor(traits.embedding)[None], HOP_FRAMES, WINDOW_FRAMES)
        self._synthesis = SynthesisStream(sample_rate, HOP_FRAMES, config, traits.bandwidth_hz, 2 * options.seed)
        self.delay = self._synthesis.delay
        self._features_of = decoder.features
        self.most_windows = 2 if self._content.even and self._decoder.even else 1
        self._generator = torch.Generator("cpu").manual_seed(2 * options.seed + 1)
        # A frame keeps its noise when it is heard again.
        self._noise = self._fresh(WINDOW_FRAMES, decoder.noise_channels)

    @torch.inference_mode()
    def render(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """See `VoiceStream.render`."""
        # The networks alone take several windows at once: how many numbers there are can change the last bit of others'
        # exponentials and products, whose rest after whole vectors is computed another way.
        said = self._content(torch.cat([self._mel(window) for window in windows]))
        content = torch.split(said, WINDOW_FRAMES)
        features = [self._features(window, z) for window, z in zip(windows, content, strict=True)]
        return np.concatenate(
            [
                self._synthesis(sharpened(gains, self._config, self._bandwidth_hz), one.f0[: HOP_FRAMES + LEAD_FRAMES])
                for one, gains in zip(windows, self._decoder(torch.cat(features)), strict=True)
            ]
        )

    def _mel(self, window: Window) -> Tensor:
        mel = self._config.mel
        first = MARGIN_FRAMES * ANALYSIS_HOP
        return mel_of_power(power_at(on_device(window.samples), mel.n_fft, mel.window, first, WINDOW_FRAMES), mel)

    def _features(self, window: Window, content: Tensor) -> Tensor:
        self._hear(content[:HOP_FRAMES], window.loudness[:HOP_FRAMES] + window.gain_db)
        mean = speaker_mean(self._sum / max(1, self._count), self._count, self._pool.mean)
        level = on_device(window.loudness + np.float32(window.gain_db - self._level_db))
        near, level = self._pool.lend(content, level, self._retrieval, self._neighbours, mean, self._likeness)
        return self._features_of(near, on_device(window.f0), level + self._level_db, self._next_noise())

    def _hear(self, content: Tensor, level: NDArray[np.float32]) -> None:
        """Takes new frames into the source's mean, those that are loud, as in a file; it is of the last half minute."""
        loud = on_device(level > self._level_db - LOUD_DB)
        self._sum = self._sum + (content * loud[:, None]).sum(0)
        self._count += int(np.count_nonzero(level > self._level_db - LOUD_DB))
        if self._count > REMEMBERED_FRAMES:
            self._sum *= REMEMBERED_FRAMES / self._count
            self._count = REMEMBERED_FRAMES

    def _next_noise(self) -> Tensor:
        noise = self._noise
        self._noise = torch.cat([noise[HOP_FRAMES:], self._fresh(HOP_FRAMES, noise.shape[1])])
        return noise

    def _fresh(self, frames: int, channels: int) -> Tensor:
        return on_device(torch.randn(frames, channels, generator=self._generator, device="cpu"))
