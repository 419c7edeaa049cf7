"""Voice files: one safetensors file with weights at half precision, a retrieval pool, and the voice's traits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml import checkpoint
from ml.converters.base import VoiceTraits
from ml.errors import WeightsError

KIND = "voice"
VERSION = 1


def write(
    path: Path, converter: str, tensors: Mapping[str, Tensor], traits: VoiceTraits, extra: Mapping[str, Any]
) -> None:
    """Writes a voice file atomically; floating tensors are stored as fp16. `extra` must be JSON-able."""
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    metadata = {"kind": KIND, "version": VERSION, "converter": converter, "traits": asdict(traits), **extra}
    checkpoint.save(path, halves, metadata)


def read(path: Path, converter: str) -> tuple[dict[str, Tensor], VoiceTraits, dict[str, Any]]:
    """Tensors as fp32, traits and the whole metadata of a voice file.

    Raises WeightsError when it is damaged, holds what is no number, or was made by another converter or version.
    """
    tensors, metadata = checkpoint.load(path)
    if metadata.get("kind") != KIND or metadata.get("version") != VERSION:
        raise WeightsError("This is not a voice file of a version that can be read.")
    if metadata.get("converter") != converter:
        raise WeightsError(f"This voice was made by the converter {metadata.get('converter')!r}, not {converter!r}.")
    try:
        traits = VoiceTraits(**metadata["traits"])
    except (KeyError, TypeError) as error:
        raise WeightsError("The voice file's description is damaged.") from error
    floats = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if any(not torch.isfinite(tensor).all() for tensor in floats.values()):
        raise WeightsError("The voice file is damaged: it holds values that are no numbers.")
    return floats, traits, metadata


def converter_of(path: Path) -> str:
    """The name of the converter that made a voice file. Raises WeightsError when it is damaged."""
    return str(checkpoint.load(path)[1].get("converter"))
