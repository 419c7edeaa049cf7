"""How near conversion and training come to what this machine can do, and where a conversion's time goes: two tables.

    python benchmarks/limits.py [--voice FILE] [--recording FILE]

One thread, CPU time. Peaks are measured here: the best product of two large matrices, and the best copy of memory. A
network's limit is the longer of its operations at the peak and of its weights and activations at the copy's rate;
operations are those that torch's own counter counts, and two for each tap of the depth-wise convolutions, which it
cannot see.
Without a voice and a recording an instant voice of generated speech is used.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import soundfile
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ml.config import ANALYSIS_RATE
from ml.convnext import DepthwiseConv, fast_dtype, fast_precision
from ml.decode import decode
from ml.engine import Engine
from ml.weights import load_base
from tests.sounds import speech

PIECE_SECONDS, TURNS, SOURCE_SECONDS = 10, 9, 60
STAGES = (
    ("pitch, of the source and of the result", "f0/__init__.py", "extract"),
    ("enhancer", "enhancement.py", "enhanced"),
    ("recogniser and bridge", "recogniser.py", "encode"),
    ("retrieval", "retrieval.py", "lend"),
    ("decoder", "decoder.py", "forward"),
    ("synthesis", "decoder.py", "synthesise"),
    ("speaker encoder, to measure the result", "speaker.py", "embed"),
    ("reading, resampling, limiting, writing", "finishing.py", "mix"),
    ("encoding", "encoding.py", "write"),
)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", type=Path)
    parser.add_argument("--recording", type=Path, help="what to convert; a minute of it is used")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    dtype = fast_dtype()
    flops, rate = _matmul_peak(dtype), _copy_peak()
    single = _matmul_peak(torch.float32)
    print(
        f"Peaks: {flops / 1e9:.0f} GFLOP/s ({str(dtype)[6:]}), {single / 1e9:.0f} (float32), copy {rate / 1e9:.1f} GB/s"
    )
    _networks(flops, rate)
    with TemporaryDirectory() as folder:
        _conversion(Path(folder), chosen.voice, chosen.recording)


def _best(run: Callable[[], object], turns: int = TURNS) -> float:
    """CPU seconds of the quickest of some turns: what the machine can do when nothing else is in the way."""
    run()
    return min(_seconds(run) for _ in range(turns))


def _seconds(run: Callable[[], object]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


def _matmul_peak(dtype: torch.dtype) -> float:
    size = 1024
    first, second = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    return 2 * size**3 / _best(lambda: first @ second)


def _copy_peak() -> float:
    """Bytes read and written a second in copies too large for any cache."""
    values, out = torch.ones(32_000_000), torch.empty(32_000_000)
    return 2 * values.nbytes / _best(lambda: out.copy_(values))


def _networks(flops: float, rate: float) -> None:
    base, frames = load_base(), PIECE_SECONDS * 100
    mel = torch.randn(1, frames, base.config.mel.bands) - 5
    content = torch.randn(1, frames, base.config.content.dimensions)
    f0, level = torch.full((1, frames), 150.0), torch.full((1, frames), -30.0)
    speaker = nn.functional.normalize(torch.randn(1, base.config.speaker.dimensions))
    spectrum = torch.rand(1, frames, base.config.enhancer.n_fft // 2 + 1)
    rows: list[tuple[str, nn.Module, tuple[Tensor, ...]]] = [
        ("recogniser", base.hearing.recogniser, (0.1 * torch.randn(1, PIECE_SECONDS * ANALYSIS_RATE),)),
        ("content encoder of streams", base.content, (mel,)),
        ("decoder", base.decoder, (content, f0, level, speaker)),
        ("enhancer", base.enhancer, (spectrum, torch.tensor([0.1]))),
    ]
    print("\n| network | MFLOP per s of sound | MB per s | limit, ms per s | measured | share of the limit |")
    print("|---|---|---|---|---|---|")
    for name, network, inputs in rows:
        work, moved = _operations(network, inputs), _bytes(network, inputs)
        limit = max(work / flops, moved / rate)

        def run(network: nn.Module = network, inputs: tuple[Tensor, ...] = inputs) -> None:
            with torch.inference_mode(), fast_precision():
                network(*inputs)

        run()
        took = median(_seconds(run) for _ in range(TURNS))
        each = [work / 1e6, moved / 1e6, limit * 1e3, took * 1e3]
        shown = " | ".join(f"{value / PIECE_SECONDS:.3g}" for value in each)
        print(f"| {name}, pieces of {PIECE_SECONDS} s | {shown} | {limit / took:.0%} |")


def _operations(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    # Not without a gradient: the counter does not know the products that are fused then.
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    taps = sum(part.weight.numel() for part in network.modules() if isinstance(part, DepthwiseConv))
    return int(counter.get_total_flops()) + 2 * taps * inputs[0].shape[1]


def _bytes(network: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """Weights once, and what every layer reads and writes, in the precision that products are made in."""
    moved = sum(value.numel() for value in network.parameters())

    def count(_: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        nonlocal moved
        moved += sum(value.numel() for value in (*given, made) if isinstance(value, Tensor))

    layers = [part for part in network.modules() if isinstance(part, nn.Linear | nn.LayerNorm | DepthwiseConv)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    network(*inputs)  # not without a gradient, for then layers are fused and their hooks not called
    for hook in hooks:
        hook.remove()
    return moved * fast_dtype().itemsize


def _conversion(folder: Path, voice: Path | None, recording: Path | None) -> None:
    engine = Engine(threads=1)
    source = folder / "source.flac"
    if recording is None:
        soundfile.write(source, speech(float(SOURCE_SECONDS), rate=48_000, seed=1), 48_000)
    else:
        decode(recording.resolve(), source, mono=True)
        sound, rate = soundfile.read(source, dtype="float32")
        soundfile.write(source, np.resize(sound, SOURCE_SECONDS * rate), rate)
    if voice is None:
        take, voice = folder / "take.flac", folder / "instant.voice"
        soundfile.write(take, speech(20.0, rate=48_000, seed=2), 48_000)
        engine.instant([take], voice)
    engine.convert(voice, source, folder / "warm.wav")
    profile, begun = cProfile.Profile(), time.process_time()
    profile.enable()
    engine.convert(voice, source, folder / "out.wav")
    profile.disable()
    total = time.process_time() - begun
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    wall = max(row[3] for row in found.values())
    print(
        f"\nOne conversion of {SOURCE_SECONDS} s: {total:.2f} CPU s, {total / SOURCE_SECONDS:.3f} per second of sound\n"
    )
    print("| stage | share of the time | CPU ms per s of sound |\n|---|---|---|")
    rest = 1.0
    for title, module, function in STAGES:
        share = sum(
            row[3] for (file, _, name), row in found.items() if file.endswith(f"ml/{module}") and name == function
        )
        share /= wall
        rest -= share
        print(f"| {title} | {share:.0%} | {share * total * 1e3 / SOURCE_SECONDS:.1f} |")
    print(f"| all else | {rest:.0%} | {rest * total * 1e3 / SOURCE_SECONDS:.1f} |")


if __name__ == "__main__":
    main()
