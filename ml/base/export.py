"""Writes the trained networks to ml/weights, in half precision, with the card that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ml import checkpoint
from ml.base.corpus import ADULT, Utterance, held_out_speakers, read_manifest
from ml.base.decoder_training import POOL_SECONDS, RATE_SHARES, SHARES, SPEEDS, Batches, frozen_encoders
from ml.base.loop import load_part
from ml.base.prepare import Item
from ml.base.sampling import split_corpus
from ml.config import ModelConfig
from ml.content import ContentEncoder
from ml.decoder import Decoder
from ml.discriminators import Discriminators
from ml.enhancement import Enhancer
from ml.speaker import SpeakerEncoder
from ml.weights import CARD, LENDERS

PARTS = {
    "content": ("content", "encoder"),
    "speaker": ("speaker", "encoder"),
    "decoder": ("decoder", "decoder"),
    "discriminators": ("decoder", "judges"),
    "enhancer": ("enhancer", "enhancer"),
}
LENDERS_A_SEX = 12
ATTRIBUTION = {
    "librispeech": "LibriSpeech (c) 2014 by Vassil Panayotov, CC BY 4.0, https://www.openslr.org/12",
    "speechocean762": "speechocean762, Zhang et al., Interspeech 2021, CC BY 4.0, https://www.openslr.org/101",
    "rhasspy_kathleen": "Rhasspy voice data set Kathleen, CC0 1.0",
    "rhasspy_kerstin": "Rhasspy voice data set Kerstin, CC0 1.0",
    "rhasspy_nathalie": "Rhasspy voice data set Nathalie, CC0 1.0",
}


def export(data: Path, work: Path, folder: Path, version: str) -> None:
    """Writes the weights files and the card to `folder`, with what `evaluate` found in `work/evaluation.json`."""
    config = ModelConfig()
    networks: dict[str, nn.Module] = {
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
        path = folder / f"{name}.safetensors"
        checkpoint.save(path, _half(network), {"network": name, "config": config.to_dict()})
        sums[name] = checkpoint.sha256(path)
    path = folder / f"{LENDERS}.safetensors"
    checkpoint.save(path, _lenders(data, work, config), {"network": LENDERS})
    sums[LENDERS] = checkpoint.sha256(path)
    utterances = read_manifest(data)
    card = {
        "name": "voicecloud base model",
        "version": version,
        "format": checkpoint.FORMAT,
        "licence": "CC BY 4.0; the recordings' authors are named under data",
        "data": _data(utterances),
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


def _lenders(data: Path, work: Path, config: ModelConfig) -> dict[str, Tensor]:
    """Content of LENDERS_A_SEX adults of each sex that speak long enough, as one tensor and each one's frames."""
    items, _ = split_corpus(data, work)
    batches = Batches(items, config, *frozen_encoders(work, config))
    chosen: list[str] = []
    for sex in "FM":
        speakers = [name for name, spoken in batches.by_speaker.items() if _is_adult(spoken[0].utterance, sex)]
        speakers.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        speakers.sort(key=lambda name: -min(POOL_SECONDS, _seconds(batches.by_speaker[name])))
        chosen += speakers[:LENDERS_A_SEX]
    pools = [batches.pool(name) for name in chosen]
    return {"content": torch.cat(pools).half(), "frames": torch.tensor([len(pool) for pool in pools])}


def _is_adult(utterance: Utterance, sex: str) -> bool:
    return utterance.sex == sex and not (utterance.age and float(utterance.age) < ADULT)


def _seconds(spoken: Sequence[Item]) -> float:
    return sum(item.utterance.seconds for item in spoken)


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
