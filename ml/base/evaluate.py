"""What the base does on speakers that it never heard: phones, speakers, and rebuilding of their recordings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ml.base.adopt import ADOPTED
from ml.base.cleaning import cleaned
from ml.base.content_training import PhoneHead, frame_accuracy
from ml.base.decoder_training import Batches, frozen_encoders, trained_enhancer
from ml.base.enhancer_training import cleaning
from ml.base.loop import load_part
from ml.base.prepare import Item
from ml.base.sampling import split_corpus
from ml.base.speaker_training import equal_error
from ml.base.teaching import Lessons
from ml.config import ModelConfig
from ml.content import ContentEncoder
from ml.convnext import fast_precision
from ml.decoder import Decoder, synthesise
from ml.losses import spectral_loss


def evaluate(data: Path, work: Path) -> dict[str, float]:
    """Measures the trainings in `work` on the held-out speakers; writes and returns `work/evaluation.json`."""
    torch.manual_seed(0)
    config = ModelConfig()
    _, held_out = split_corpus(data, work)
    _, clean = split_corpus(data, work, "clean")
    content, speaker = frozen_encoders(work, config)
    decoder = Decoder(config)
    load_part(work, "decoder", "decoder", decoder)
    enhancer = trained_enhancer(work, config)
    batches = Batches(cleaned(held_out, enhancer, work), config, content, speaker, Lessons(data, work))
    found = {
        "held_out_phone_frame_accuracy": _phones_found(work, content, held_out),
        **{f"speaker_{name}": value for name, value in equal_error(speaker, held_out).items()},
        "held_out_spectral_loss": rebuilding(decoder, batches),
        **{f"held_out_noisy_loss_{name}": value for name, value in cleaning(enhancer, clean).items()},
    }
    rounded = {name: round(value, 4) for name, value in found.items()}
    (work / "evaluation.json").write_text(json.dumps(rounded, indent=1), encoding="utf-8")
    return rounded


def _phones_found(work: Path, content: ContentEncoder, held_out: Sequence[Item]) -> float:
    """`frame_accuracy`; for an adopted encoder that was not trained on, and so has no head, what its card says."""
    if "phones" not in torch.load(work / "content.state", weights_only=True, map_location="cpu")["parts"]:
        adopted = json.loads((work / ADOPTED).read_text(encoding="utf-8"))
        return float(adopted["held_out_phone_frame_accuracy"])
    phones = PhoneHead(content.config.content.dimensions)
    load_part(work, "content", "phones", phones)
    return frame_accuracy(content, phones, held_out)


@torch.no_grad()
def rebuilding(decoder: nn.Module, batches: Batches, count: int = 12) -> float:
    """Mean spectral loss over `count` batches of held-out speech, with embeddings of other pieces, no fine-tune."""
    losses: list[float] = []
    for index in range(count):
        batch = batches.draw(8, np.random.default_rng([0, index]))
        with fast_precision():
            gains = decoder(batch.content, batch.f0, batch.level, batch.speaker)
        made = synthesise(gains, batch.f0, batch.rate, batch.target.shape[-1], batches.config)
        losses.append(float(spectral_loss(made, batch.target, batch.rate, batch.bandwidth)))
    return float(np.mean(losses))
