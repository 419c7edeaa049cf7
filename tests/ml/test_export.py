"""The ONNX files say what torch says, for any number of frames, and come with what a program needs to use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from ml import export
from ml.__main__ import main
from ml.converters.native import NativeConverter
from ml.convnext import float32_precision
from ml.errors import EngineError, WeightsError
from tests.ml.conftest import write_speech


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voice")
    NativeConverter().instant([write_speech(folder / "take.flac", 4.0)], folder / "x.voice", lambda part, stage: None)
    return folder / "x.voice"


@pytest.fixture(scope="module")
def exported(voice: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx")
    paths = export.export_onnx(folder, voice)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    return folder


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("frames", [1, 12, 250])
def test_both_networks_agree_with_torch(exported: Path, voice: Path, frames: int) -> None:
    generator = torch.Generator().manual_seed(frames)
    opened = NativeConverter().open(voice)
    mel = torch.randn(1, frames, 80, generator=generator) * 2 - 5
    f0 = torch.where(torch.rand(1, frames, generator=generator) < 0.3, 0.0, 180.0)
    level = torch.randn(1, frames, generator=generator) * 8 - 35
    noise = torch.randn(1, frames, 4, generator=generator)
    speaker = torch.tensor(opened.traits.embedding)[None]
    with torch.inference_mode(), float32_precision():
        content = opened.base.content(mel)
        gains = opened.decoder(content, f0, level, speaker, noise)
    (found,) = session(exported / "content.onnx").run(["content"], {"mel": mel.numpy()})
    assert np.abs(found - content.numpy()).max() < 1e-3
    fed = {"content": content, "f0": f0, "loudness": level, "speaker": speaker, "noise": noise}
    harmonic, turbulent = session(exported / "decoder.onnx").run(
        ["harmonic", "turbulent"], {name: value.numpy() for name, value in fed.items()}
    )
    assert np.abs(harmonic - gains.harmonic.numpy()).max() < 1e-3
    assert np.abs(turbulent - gains.noise.numpy()).max() < 1e-3


def test_the_traits_of_the_voice_come_along(exported: Path, voice: Path) -> None:
    traits = json.loads((exported / "traits.json").read_text())
    assert traits["embedding"] == NativeConverter().open(voice).traits.embedding
    assert {"f0_median_hz", "level_db", "bandwidth_hz"} <= set(traits)


def test_without_a_voice_the_bases_decoder_is_written(exported: Path, tmp_path: Path) -> None:
    assert [path.name for path in export.export_onnx(tmp_path)] == ["content.onnx", "decoder.onnx"]


def test_refusals_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad.voice").write_bytes(b"no voice")
    with pytest.raises(WeightsError):
        export.export_onnx(tmp_path, tmp_path / "bad.voice")
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match="requirements-dev"):
        export.export_onnx(tmp_path)


def test_the_command_names_what_it_wrote(
    voice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ml", "export-onnx", str(tmp_path / "out"), "--voice", str(voice)])
    assert main() == 0
    assert "decoder.onnx" in capsys.readouterr().out + capsys.readouterr().err
