"""voicecloud's own converter: content, pitch and loudness of the source, decoded in the voice that was asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ml import checkpoint, voicefile
from ml.adaptation import Adaptation
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE
from ml.converters.base import INSTANT, Converter, Lesson, Piece, Report, Samples, TrainOptions, Voice, VoiceTraits
from ml.converters.native_stream import NativeStream
from ml.converters.streaming import StreamOptions, VoiceStream
from ml.convnext import fast_precision
from ml.decoder import Decoder, sharpened, shift_formants, synthesise
from ml.device import on_device, to_array
from ml.enhancement import enhanced
from ml.errors import WeightsError
from ml.noise import placed
from ml.retrieval import Pool, speaker_mean
from ml.weights import CARD, FOLDER, Base, load_base


class NativeConverter(Converter):
    """See the module's description. `folder` holds the base model's weights."""

    name = "native"

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    @cached_property
    def base(self) -> Base:
        """The base model, read once. Raises WeightsError when it is damaged or not there."""
        return load_base(self._folder)

    @cached_property
    def same_speaker(self) -> float:
        """Where the speaker encoder errs equally often either way, on speakers that it was not trained on."""
        card = json.loads((self._folder / CARD).read_text(encoding="utf-8"))
        return float(card["evaluation"]["speaker_centroid_threshold"])

    def warm(self) -> None:
        """See `Converter.warm`."""
        traits = VoiceTraits(150.0, 100.0, 200.0, -30.0, 8000.0, 1.0, [0.0] * self.base.config.speaker.dimensions)
        pool = Pool(torch.zeros(8, self.base.config.content.dimensions), torch.zeros(8))
        voice = NativeVoice(self.base, self.base.decoder, pool, traits)
        silence = np.zeros(ANALYSIS_RATE, np.float32)
        f0 = np.full(1 + len(silence) // ANALYSIS_HOP, 150.0, np.float32)
        said, level = voice.said(silence), np.full_like(f0, -50.0)
        voice.render(Piece(silence, f0, level, 0.0, 0.0, 24_000, 0.3, 4, 0, said=said, mean=voice.mean(said)))
        self.embed(silence + 1e-3)

    def embed(self, samples: Samples) -> NDArray[np.float32]:
        """See `Converter.embed`."""
        return to_array(self.base.speaker.embed(on_device(samples)))

    def clean(self, samples: Samples, strength: float, loud: float) -> Samples:
        """See `Converter.clean`."""
        return enhanced(self.base.enhancer, samples, ANALYSIS_RATE, strength, loud)

    def lesson(self, takes: Sequence[Path], options: TrainOptions) -> Lesson:
        """See `Converter.lesson`."""
        return Adaptation(self.base, self.embed, takes, options)

    def instant(self, takes: Sequence[Path], out: Path, report: Report) -> dict[str, float]:
        """The base decoder after a few steps on the takes, with the voice's embedding and retrieval pool."""
        lesson = Adaptation(self.base, self.embed, takes, TrainOptions(), INSTANT)
        lesson.prepare(lambda fraction, stage: report(0.5 * fraction, stage))
        for index in range(lesson.steps):
            report(0.5 + 0.5 * index / lesson.steps, "Making the voice")
            lesson.step(index)
        lesson.save(out)
        return lesson.measure()

    def open(self, path: Path) -> NativeVoice:
        """See `Converter.open`."""
        tensors, traits, metadata = voicefile.read(path, self.name)
        if metadata.get("base") != self.base.version:
            raise WeightsError("This voice was trained with another version of the base model; train it again.")
        if "levels" not in tensors:
            raise WeightsError("This voice was made before voices knew how loud their sounds are; train it again.")
        content, levels = tensors.pop("pool", None), tensors.pop("levels")
        if content is None or content.shape != (len(levels), self.base.config.content.dimensions):
            raise WeightsError("The voice file is damaged: its retrieval pool is missing.")
        decoder = Decoder(self.base.config)
        checkpoint.fill(decoder, tensors, "decoder.")
        return NativeVoice(
            self.base, decoder.eval().requires_grad_(False), Pool(on_device(content), on_device(levels)), traits
        )


class NativeVoice(Voice):
    """A native voice file, opened: its decoder and retrieval pool beside the base's networks."""

    def __init__(self, base: Base, decoder: Decoder, pool: Pool, traits: VoiceTraits) -> None:
        self.base, self.decoder, self.pool, self.traits = base, decoder, pool, traits
        self.speaker = torch.tensor(traits.embedding)[None]

    @torch.inference_mode()
    def said(self, samples: Samples) -> NDArray[np.float32]:
        """See `Voice.said`: content, (T, dimensions)."""
        return to_array(self.base.hearing.encode(on_device(samples)[None])[0])

    @torch.inference_mode()
    def mean(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Voice.mean`."""
        return to_array(speaker_mean(on_device(rows).mean(0), len(rows), self.pool.mean))

    @torch.inference_mode()
    def render(self, piece: Piece) -> Samples:
        """See `Voice.render`."""
        f0 = on_device(piece.f0)[None]
        frames, hop, config = f0.shape[1], piece.sample_rate // FRAME_RATE, self.base.config
        ratio = piece.retrieval * torch.where(f0[0] > 0, 1.0, 1.0 - piece.protection)
        said, level = on_device(piece.said), on_device(piece.loudness) - self.traits.level_db
        content, level = self.pool.lend(said, level, ratio, piece.neighbours, on_device(piece.mean))
        loudness = (level + self.traits.level_db)[None]
        noise = placed(piece.seed, 0, piece.start, frames, self.decoder.noise_channels)[None]
        with fast_precision():
            gains = self.decoder(content[None], f0, loudness, self.speaker, noise)
        bandwidth = self.traits.bandwidth_hz
        made = synthesise(
            shift_formants(sharpened(gains, config, bandwidth), piece.formant, config, bandwidth),
            f0,
            piece.sample_rate,
            (frames - 1) * hop,
            config,
            bandwidth,
            placed(piece.seed, 1, piece.start, frames - 1, hop).reshape(1, -1),
            torch.tensor([piece.phase], dtype=torch.float64),
        )
        length = round(len(piece.samples) * piece.sample_rate / ANALYSIS_RATE)
        return to_array(torch.nn.functional.pad(made[0], (0, length - made.shape[-1])))

    def stream(self, sample_rate: int, options: StreamOptions) -> VoiceStream:
        """See `Voice.stream`."""
        return NativeStream(
            self.base.config, self.base.content, self.decoder, self.pool, self.traits, sample_rate, options
        )
