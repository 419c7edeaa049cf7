"""The base model that ships with voicecloud: three networks and the judges for the fine-tune."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ml import checkpoint
from ml.config import ModelConfig
from ml.content import ContentEncoder
from ml.decoder import Decoder
from ml.discriminators import Discriminators
from ml.errors import WeightsError
from ml.speaker import SpeakerEncoder

FOLDER = Path(__file__).parent
CARD = "card.json"
NETWORKS = ("content", "speaker", "decoder", "discriminators")


@dataclass(frozen=True)
class Base:
    """The shipped networks in evaluation mode, their sizes, and the version that a voice file remembers."""

    version: str
    config: ModelConfig
    content: ContentEncoder
    speaker: SpeakerEncoder
    decoder: Decoder
    discriminators: Discriminators


def load_base(folder: Path = FOLDER) -> Base:
    """Reads and checks the weights in `folder`. Raises WeightsError when any file is not what the card says."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        config, sums = ModelConfig.from_dict(card["config"]), card["sha256"]
        version = str(card["version"])
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError("The base model's card is missing or damaged; install voicecloud again.") from error
    base = Base(version, config, ContentEncoder(config), SpeakerEncoder(config), Decoder(config), Discriminators())
    for name in NETWORKS:
        path = folder / f"{name}.safetensors"
        if not path.is_file() or checkpoint.sha256(path) != sums.get(name):
            raise WeightsError(f"The base model's file {path.name} is damaged; install voicecloud again.")
        tensors, _ = checkpoint.load(path)
        network = getattr(base, name)
        checkpoint.fill(network, tensors)
        network.eval().requires_grad_(False)
    return base
