"""Writes the trained networks to ml/weights, in half precision, with the card that says what they are."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml import checkpoint
from ml.base.corpus import ADULT, Utterance, held_out_speakers, read_manifest
from ml.base.decoder_training import RATE_SHARES, SHARES, SPEEDS
from ml.base.loop import load_part
from ml.base.prepare import Item
from ml.base.sampling import analysed, split_corpus
from ml.base.speaker_training import group
from ml.base.teacher import bundled, read_weights
from ml.base.teaching import Lessons
from ml.config import FRAME_RATE, ModelConfig
from ml.content import ContentEncoder
from ml.decoder import Decoder
from ml.discriminators import Discriminators
from ml.enhancement import Enhancer
from ml.recogniser import Bridge, packed
from ml.speaker import SpeakerEncoder
from ml.spectral import LOUDNESS_FLOOR_DB, loudness
from ml.weights import CARD, LENDERS

PARTS = {
    "bridge": ("bridge", "bridge"),
    "content": ("content", "encoder"),
    "speaker": ("speaker", "encoder"),
    "decoder": ("decoder", "decoder"),
    "discriminators": ("decoder", "judges"),
    "enhancer": ("enhancer", "enhancer"),
}
LENDERS_A_SEX, LENDER_SECONDS = 12, 9
RECOGNISER = {
    "name": "Moonshine tiny, English: the encoder",
    "licence": "MIT, Copyright (c) 2025 Moonshine AI",
    "package": "moonshine-voice",
}
ATTRIBUTION = {
    "librispeech": "LibriSpeech (c) 2014 by Vassil Panayotov, CC BY 4.0, https://www.openslr.org/12",
    "speechocean762": "speechocean762, Zhang et al., Interspeech 2021, CC BY 4.0, https://www.openslr.org/101",
    "rhasspy_kathleen": "Rhasspy voice data set Kathleen, CC0 1.0",
    "rhasspy_kerstin": "Rhasspy voice data set Kerstin, CC0 1.0",
    "rhasspy_nathalie": "Rhasspy voice data set Nathalie, CC0 1.0",
}


def export(data: Path, work: Path, folder: Path, version: str) -> None:
    """Writes the weights files and the card to `folder`, with what `evaluate` found in `work/evaluation.json`.

    Raises EngineError where the recogniser's package is not installed.
    """
    config = ModelConfig()
    networks: dict[str, nn.Module] = {
        "bridge": Bridge(config.content.dimensions),
        "content": ContentEncoder(config),
        "speaker": SpeakerEncoder(config),
        "decoder": Decoder(config),
        "discriminators": Discriminators(),
        "enhancer": Enhancer(config),
    }
    training: dict[str, Mapping[str, float]] = {}
    sums: dict[str, str] = {}
    for name, network in networks.items():
        training[name] = load_part(work, *PARTS[name], network)
    files = {name: _half(network) for name, network in networks.items() if name != "bridge"}
    files |= {"hearing": _hearing(networks["bridge"]), LENDERS: _lenders(data, work)}
    for name, tensors in files.items():
        path = folder / f"{name}.safetensors"
        checkpoint.save(path, tensors, {"network": name, "config": config.to_dict()})
        sums[name] = checkpoint.sha256(path)
    utterances = read_manifest(data)
    card = {
        "name": "voicecloud base model",
        "version": version,
        "format": checkpoint.FORMAT,
        "licence": "CC BY 4.0; the recordings' authors are named under data",
        "data": _data(utterances),
        "recogniser": RECOGNISER | {"version": importlib.metadata.version(RECOGNISER["package"])},
        "held_out_speakers": held_out_speakers(utterances),
        "training": training,
        "sampling": {
            "decoder_shares": {str(rate): shares for rate, shares in SHARES.items()},
            "decoder_rates": {str(rate): share for rate, share in RATE_SHARES.items()},
            "decoder_speeds": list(SPEEDS),
        },
        "evaluation": json.loads((work / "evaluation.json").read_text(encoding="utf-8")),
        "config": config.to_dict(),
        "sha256": sums,
    }
    temporary = folder / f".{CARD}.tmp"
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(card, indent=1) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(folder / CARD)


def _hearing(bridge: nn.Module) -> dict[str, Tensor]:
    """The recogniser as its authors store it, its integers as they are, and our bridge."""
    tensors, integers = read_weights(bundled())
    numbers = {f"recogniser.{name}": value for name, value in tensors.items()}
    numbers |= {f"bridge.{name}": value for name, value in bridge.state_dict().items()}
    return packed(numbers, {f"recogniser.{name}": value for name, value in integers.items()})


def _lenders(data: Path, work: Path) -> dict[str, Tensor]:
    """LENDER_SECONDS of LENDERS_A_SEX adults of each sex that speak long enough: content, f0, loudness, a row each.

    Where there are too few, those who speak longest say theirs again until the time is full.
    """
    count = LENDER_SECONDS * FRAME_RATE
    spoken, lessons = group(split_corpus(data, work)[0]), Lessons(data, work)
    chosen: list[str] = []
    for sex in "FM":
        speakers = [name for name, items in spoken.items() if _is_adult(items[0].utterance, sex)]
        speakers.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        speakers.sort(key=lambda name: -min(count, _frames(spoken[name])))
        chosen += speakers[:LENDERS_A_SEX]
    rows: dict[str, list[Tensor]] = defaultdict(list)
    for name in chosen:
        found = [(lessons.whole(item), item.f0, _loudness(item)) for item in spoken[name]]
        for part, values in zip(("content", "f0", "loudness"), zip(*found, strict=True), strict=True):
            joined = np.concatenate(values)
            rows[part].append(torch.from_numpy(joined[np.arange(count) % len(joined)]).half())
    return {name: torch.stack(values) for name, values in rows.items()}


def _loudness(item: Item) -> NDArray[np.float32]:
    levels = loudness(torch.from_numpy(analysed(item))[None])[0].numpy()[: len(item.f0)]
    return np.pad(levels, (0, len(item.f0) - len(levels)), constant_values=LOUDNESS_FLOOR_DB)


def _is_adult(utterance: Utterance, sex: str) -> bool:
    return utterance.sex == sex and not (utterance.age and float(utterance.age) < ADULT)


def _frames(spoken: Sequence[Item]) -> int:
    return sum(len(item.f0) for item in spoken)


def _half(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}


def _data(utterances: Sequence[Utterance]) -> list[dict[str, Any]]:
    held_out = set(held_out_speakers(utterances))
    by_corpus: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in utterances:
        if utterance.speaker not in held_out:
            by_corpus[utterance.corpus].append(utterance)
    return [
        {
            "corpus": corpus,
            "attribution": ATTRIBUTION[corpus],
            "recordings": len(spoken),
            "speakers": len({utterance.speaker for utterance in spoken}),
            "minutes": round(sum(utterance.seconds for utterance in spoken) / 60, 1),
        }
        for corpus, spoken in by_corpus.items()
    ]
