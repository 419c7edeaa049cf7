"""Weights files: whole or refused."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ml import checkpoint
from ml.config import ModelConfig
from ml.errors import WeightsError
from ml.weights import CARD, FOLDER, LENDERS, NETWORKS, load_base


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5)}
    checkpoint.save(tmp_path / "x.safetensors", tensors, {"step": 7, "config": ModelConfig().to_dict()})
    loaded, metadata = checkpoint.load(tmp_path / "x.safetensors")
    assert torch.equal(loaded["a"], tensors["a"])
    assert torch.equal(loaded["b"], tensors["b"])
    assert metadata["step"] == 7
    assert ModelConfig.from_dict(metadata["config"]) == ModelConfig()
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": torch.ones(1)}, {})
    with pytest.raises(TypeError):
        checkpoint.save(path, {"a": torch.zeros(1)}, {"not": object()})
    assert checkpoint.load(path)[0]["a"].item() == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 8, b"\xff" * 4096, pickle.dumps({"a": 1}), b"PK\x03\x04" + b"\0" * 99]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError):
        checkpoint.load(path)


def test_a_missing_a_foreign_and_a_cut_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        checkpoint.load(tmp_path / "none.safetensors")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.ones(4)}, foreign, {"format": "voicecloud-99", "voicecloud": "{}"})
    with pytest.raises(WeightsError, match="format"):
        checkpoint.load(foreign)
    cut = tmp_path / "cut.safetensors"
    checkpoint.save(cut, {"a": torch.ones(1000)}, {})
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(WeightsError):
        checkpoint.load(cut)


def test_weights_of_another_shape_or_with_extra_names_do_not_fill_a_network() -> None:
    network = torch.nn.Linear(3, 2)
    good = {"n.weight": torch.ones(2, 3).half(), "n.bias": torch.zeros(2).half(), "other": torch.ones(1)}
    checkpoint.fill(network, good, "n.")
    assert network.weight.dtype == torch.float32
    assert network.weight.eq(1).all()
    for bad in ({**good, "n.extra": torch.ones(1)}, {**good, "n.bias": torch.ones(3)}, {"n.bias": torch.ones(2)}):
        with pytest.raises(WeightsError):
            checkpoint.fill(network, bad, "n.")


@pytest.mark.parametrize("change", [{"mel": {}, "content": {}}, {"content": {"width": 3, "unknown": 1}}, {"mel": None}])
def test_an_unknown_configuration_is_refused(change: dict[str, object]) -> None:
    saved = json.loads(json.dumps(ModelConfig().to_dict()))
    assert ModelConfig.from_dict(saved) == ModelConfig()
    with pytest.raises(WeightsError):
        ModelConfig.from_dict(saved | change if len(change) == 1 else change)


def test_the_shipped_base_is_what_its_card_says_and_small() -> None:
    base = load_base()
    assert base.config == ModelConfig()
    card = json.loads((FOLDER / CARD).read_text())
    assert set(card["sha256"]) == {*NETWORKS, LENDERS}
    assert len(card["held_out_speakers"]) >= 20
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) <= 30_000_000


def test_a_shipped_file_with_one_changed_byte_is_refused(tmp_path: Path) -> None:
    for path in FOLDER.glob("*.*"):
        if path.suffix in {".safetensors", ".json"}:
            shutil.copy(path, tmp_path)
    damaged = tmp_path / "speaker.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(WeightsError, match="speaker.safetensors"):
        load_base(tmp_path)
