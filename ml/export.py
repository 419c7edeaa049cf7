"""The content encoder and a decoder as ONNX files, for programs without torch."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from ml.audio import atomic
from ml.content import ContentEncoder
from ml.converters.native import NativeConverter
from ml.convnext import float32_precision
from ml.decoder import Decoder
from ml.errors import EngineError

OPSET = 20  # the first with layer norm and GELU as one operator each
_EXAMPLE_FRAMES = 37


def export_onnx(folder: Path, voice: Path | None = None) -> list[Path]:
    """Writes `content.onnx` and `decoder.onnx` to `folder`, and returns their paths.

    The decoder is the base's, or that of a `voice` file; then `traits.json` holds what the decoder wants to know of the
    voice besides: its embedding, pitch, level and bandwidth. Raises EngineError without the package onnx, WeightsError
    for a bad voice file.
    """
    if find_spec("onnx") is None:
        raise EngineError("Exporting needs the package onnx; install the development extra (requirements-dev.txt).")
    converter = NativeConverter()
    decoder = converter.base.decoder
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "content.onnx", folder / "decoder.onnx"]
    if voice is not None:
        opened = converter.open(voice)
        decoder = opened.decoder
        paths.append(folder / "traits.json")
        with atomic(paths[-1]) as part:
            part.write_text(json.dumps(asdict(opened.traits), indent=1) + "\n", encoding="utf-8")
    with atomic(paths[0]) as part:
        export_content(converter.base.content, part)
    with atomic(paths[1]) as part:
        export_decoder(decoder, part)
    return paths


def export_content(encoder: ContentEncoder, path: Path) -> None:
    """Writes `encoder` in float32: "mel" (1, frames, bands) -> "content" (1, frames, dimensions)."""
    mel = torch.randn(1, _EXAMPLE_FRAMES, encoder.config.mel.bands)
    _export(encoder, {"mel": mel}, ("content",), path)


def export_decoder(decoder: Decoder, path: Path) -> None:
    """Writes `decoder` in float32, its inputs and outputs named as in `Decoder.forward` and `Gains`.

    "content" (1, frames, dimensions), "f0" and "loudness" (1, frames), "speaker" (1, dimensions), "noise" (1, frames,
    channels) -> "harmonic" and "turbulent" log-gains (1, frames, bands).
    """
    config, frames = decoder.config, _EXAMPLE_FRAMES
    inputs = {
        "content": torch.randn(1, frames, config.content.dimensions),
        "f0": torch.full((1, frames), 150.0),
        "loudness": torch.full((1, frames), -30.0),
        "speaker": nn.functional.normalize(torch.randn(1, config.speaker.dimensions)),
        "noise": torch.randn(1, frames, decoder.noise_channels),
    }
    _export(_Flat(decoder), inputs, ("harmonic", "turbulent"), path)


class _Flat(nn.Module):
    """A decoder whose result is a tuple, as ONNX knows nothing else."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, content: Tensor, f0: Tensor, loudness: Tensor, speaker: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        gains = self.decoder(content, f0, loudness, speaker, noise)
        return gains.harmonic, gains.noise


def _export(network: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...], path: Path) -> None:
    dynamic = {name: {1: "frames"} for name in (*inputs, *outputs) if name != "speaker"}
    with warnings.catch_warnings(), torch.no_grad(), float32_precision():
        # The exporter that is not deprecated wants two more packages for the same graph. What this one warns of
        # besides, the loop over a convolution's taps and slices that it does not fold, is as it should be.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=dynamic,
            opset_version=OPSET,
            dynamo=False,
        )
