"""What the two networks cost through torch, as the engine uses it and in float32, and through onnxruntime: a table.

    python benchmarks/onnx_speed.py

CPU milliseconds of one thread, medians of 9 turns in which every way had its go.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnxruntime
import torch

from ml.convnext import fast_precision, float32_precision
from ml.export import export_onnx
from ml.weights import load_base

TURNS = 9
FRAMES = {"12 frames, a hop of a stream": 12, "100 frames": 100, "1000 frames, a piece of a file": 1000}


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    base = load_base()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with TemporaryDirectory() as folder:
        paths = export_onnx(Path(folder))
        content, decoder = (
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in paths
        )
    print("| network | input | torch as used | torch float32 | onnxruntime float32 |\n| --- | --- | --- | --- | --- |")
    for words, frames in FRAMES.items():
        mel = torch.randn(1, frames, base.config.mel.bands) - 5
        _row("content encoder", words, base.content, (mel,), content)
        inputs = (
            torch.randn(1, frames, base.config.content.dimensions),
            torch.full((1, frames), 150.0),
            torch.full((1, frames), -30.0),
            torch.nn.functional.normalize(torch.randn(1, base.config.speaker.dimensions)),
            torch.randn(1, frames, base.decoder.noise_channels),
        )
        _row("decoder", words, base.decoder, inputs, decoder)


def _row(name: str, words: str, network: Any, inputs: tuple[torch.Tensor, ...], session: Any) -> None:
    fed = {entry.name: value.numpy() for entry, value in zip(session.get_inputs(), inputs, strict=True)}

    def through_torch(precision: Callable[[], Any]) -> None:
        with torch.inference_mode(), precision():
            network(*inputs)

    ways: list[Callable[[], object]] = [
        lambda: through_torch(fast_precision),
        lambda: through_torch(float32_precision),
        lambda: session.run(None, fed),
    ]
    spent: list[list[float]] = [[] for _ in ways]
    for _ in range(TURNS + 1):
        for way, times in zip(ways, spent, strict=True):
            started = time.process_time()
            way()
            times.append(1000 * (time.process_time() - started))
    print(f"| {name} | {words} | " + " | ".join(f"{median(times[1:]):.1f}" for times in spent) + " |")


if __name__ == "__main__":
    main()
