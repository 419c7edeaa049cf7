"""Measures a stream on this machine: what 100 ms of sound cost, and how late it comes. Prints a Markdown table.

    python benchmarks/stream.py VOICE RECORDING [--rates 16000 48000] [--chunk-ms 100] [--threads 1]

Time is that of the thread (so other processes cost little, through caches and shared cores) and of the clock.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # instead of this folder, whose names would hide those of the standard library
WARM_UP_CHUNKS = 5

if TYPE_CHECKING:
    from ml.stream import Samples, Stream


def main() -> None:
    """Streams the recording at each rate and prints the table."""
    from ml.audio import load
    from ml.decode import decode
    from ml.engine import Engine

    chosen = _parser().parse_args()
    engine = Engine(threads=chosen.threads)
    engine.warm()
    print(f"\n{os.cpu_count()} cores, {chosen.threads} thread(s), load {os.getloadavg()[0]:.1f} at the start\n")
    print("| rate | CPU ms p50 | p95 | max | clock ms p95 | CPU load | delay ms |\n|---|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        sound = Path(folder) / "source.flac"
        decode(chosen.recording.resolve(), sound, mono=True)
        for rate in chosen.rates:
            samples, _ = load(sound, rate)
            stream = engine.stream(chosen.voice, rate)
            spent = _costs(stream, samples, rate * chosen.chunk_ms // 1000)
            cpu, clock = np.array(spent[WARM_UP_CHUNKS:]).T
            p50, p95 = np.percentile(cpu, (50, 95))
            load_share, late = cpu.mean() / chosen.chunk_ms, 1000 * stream.delay_seconds
            print(
                f"| {rate} | {p50:.1f} | {p95:.1f} | {cpu.max():.1f} | {np.percentile(clock, 95):.1f} "
                f"| {load_share:.2f} | {late:.1f} |",
                flush=True,
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voice", type=Path)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--rates", type=int, nargs="+", default=[16_000, 24_000, 44_100, 48_000])
    parser.add_argument("--chunk-ms", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def _costs(stream: Stream, samples: Samples, size: int) -> list[tuple[float, float]]:
    """Milliseconds of the thread and of the clock that each chunk of `size` samples takes."""
    costs = []
    for start in range(0, len(samples) - size + 1, size):
        thread, clock = time.thread_time(), time.perf_counter()
        stream.push(samples[start : start + size])
        costs.append((1000 * (time.thread_time() - thread), 1000 * (time.perf_counter() - clock)))
    return costs


if __name__ == "__main__":
    main()
