"""Weights files: tensors in safetensors form, with configuration and format version in their metadata."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save_file
from torch import Tensor, nn

from ml.errors import WeightsError

FORMAT = "voicecloud-1"


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Writes `tensors` and JSON-able `metadata` to `path`: whole or not at all, also when the power fails.

    Raises OSError, with its number, when the disk is full or the file cannot be written.
    """
    _save(path.parent, path.name, lambda written: path.name, tensors, metadata)


def save_named(
    folder: Path, name: Callable[[str], str], tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> Path:
    """Writes a file as `save` does, into `folder` under the name that `name` makes of its SHA-256; returns its path."""
    return _save(folder, name("new"), lambda written: name(sha256(written)), tensors, metadata)


def _save(
    folder: Path,
    label: str,
    name: Callable[[Path], str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
) -> Path:
    temporary = folder / f".{label}.{os.getpid()}.tmp"
    header = {"format": FORMAT, "voicecloud": json.dumps(dict(metadata))}
    try:
        _write({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, temporary, header)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        path = folder / name(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def _write(tensors: dict[str, Tensor], path: Path, header: dict[str, str]) -> None:
    try:
        save_file(tensors, path, header)
    except SafetensorError as error:
        # The library tells a full disk in words only: "... (os error 28)".
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file that `save` wrote.

    Raises WeightsError when it is missing, damaged, not a safetensors file, or of another format version.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
            if header.get("format") != FORMAT:
                raise WeightsError(f"{path.name} is not a weights file of format {FORMAT}.")
            metadata = json.loads(header["voicecloud"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path.name} is missing or damaged.") from error
    return tensors, metadata


def load_verified(path: Path, digest: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a file as `load` gives them, if `digest` is the SHA-256 of its bytes.

    The file is read once, into memory that is not mapped: what a training freed may hold it where the system has no
    more to give. Raises WeightsError as `load` does, and when the digest is another.
    """
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            raise WeightsError(f"{path.name} is not what was saved.")
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        if header.get("format") != FORMAT:
            raise WeightsError(f"{path.name} is not a weights file of format {FORMAT}.")
        return load_bytes(content), json.loads(header["voicecloud"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsError(f"{path.name} is missing or damaged.") from error


def fill(network: nn.Module, tensors: Mapping[str, Tensor], prefix: str = "") -> None:
    """Gives `network` the tensors named `prefix` + its own names, as float32; all others are left alone.

    Raises WeightsError unless every parameter is there with its shape and nothing under the prefix is left over.
    """
    own = {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        network.load_state_dict(own, strict=True)
    except RuntimeError as error:
        raise WeightsError("The weights do not fit the network that they are meant for.") from error


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
