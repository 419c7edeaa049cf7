"""The base model that ships with voicecloud: five networks, the judges for the fine-tune, and others' content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ml import checkpoint
from ml.config import ModelConfig
from ml.content import ContentEncoder
from ml.decoder import Decoder
from ml.device import on_device
from ml.discriminators import Discriminators
from ml.enhancement import Enhancer
from ml.errors import WeightsError
from ml.recogniser import Hearing, unpacked
from ml.speaker import SpeakerEncoder

FOLDER = Path(__file__).parent
CARD = "card.json"
NETWORKS = ("hearing", "content", "speaker", "decoder", "discriminators", "enhancer")
LENDERS = "lenders"


@dataclass(frozen=True)
class Lender:
    """A stretch of what another speaker said: `content` (T, dimensions), `f0` (T,) in Hz, `loudness` (T,) in dB."""

    content: Tensor
    f0: Tensor
    loudness: Tensor


@dataclass(frozen=True)
class Base:
    """The shipped networks in evaluation mode, their sizes, and the version that a voice file remembers.

    A fine-tune borrows the frames of the `lenders`, all of one length, and rehearses what they said.
    """

    version: str
    config: ModelConfig
    hearing: Hearing
    content: ContentEncoder
    speaker: SpeakerEncoder
    decoder: Decoder
    discriminators: Discriminators
    enhancer: Enhancer
    lenders: tuple[Lender, ...]


def load_base(folder: Path = FOLDER) -> Base:
    """Reads and checks the weights in `folder`. Raises WeightsError when any file is not what the card says."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
        config, sums = ModelConfig.from_dict(card["config"]), card["sha256"]
        version = str(card["version"])
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError("The base model's card is missing or damaged; install voicecloud again.") from error
    files = {name: _checked(folder / f"{name}.safetensors", sums.get(name)) for name in (*NETWORKS, LENDERS)}
    lent = [on_device(files[LENDERS][name].float()) for name in ("content", "f0", "loudness")]
    lenders = tuple(Lender(*rows) for rows in zip(*lent, strict=True))
    files["hearing"] = unpacked(files["hearing"])
    networks = (
        Hearing(config),
        ContentEncoder(config),
        SpeakerEncoder(config),
        Decoder(config),
        Discriminators(),
        Enhancer(config),
    )
    for name, network in zip(NETWORKS, networks, strict=True):
        checkpoint.fill(network, files[name])
        network.eval().requires_grad_(False)
    return Base(version, config, *networks, lenders)


def _checked(path: Path, sha256: str | None) -> dict[str, Tensor]:
    if not path.is_file() or checkpoint.sha256(path) != sha256:
        raise WeightsError(f"The base model's file {path.name} is damaged; install voicecloud again.")
    tensors, _ = checkpoint.load(path)
    return tensors
