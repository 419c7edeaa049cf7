"""Measures the engine on this machine: training, conversion, memory. Prints Markdown tables.

    python benchmarks/engine.py [--recordings FILE ...] [--threads 1] [--hour]

Without recordings, speech-like sound is generated. Each figure comes from a process of its own, so that memory peaks
are those of the one thing measured. `--hour` adds the conversion of 60 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # instead of this folder, whose names would hide those of the standard library
TRAINING_SECONDS, SOURCE_SECONDS = 60.0, 60.0


def main() -> None:
    """Runs every measurement in a child and prints the tables."""
    chosen = _parser().parse_args()
    if chosen.child:
        print(json.dumps(_measure(json.loads(chosen.child))))
        return
    with TemporaryDirectory() as folder:
        place = Path(folder)
        takes = _takes(place, chosen.recordings)
        source = _source(place, takes, SOURCE_SECONDS)
        threads = chosen.threads
        print(f"\n{os.cpu_count()} cores, {threads} thread(s), load {os.getloadavg()[0]:.1f} at the start\n")
        print("| what | wall s | CPU s | per second of sound | peak memory MiB |\n|---|---|---|---|---|")
        shared: dict[str, Any] = {"takes": [str(path) for path in takes], "threads": threads}
        for preset in chosen.presets:
            voice = str(place / f"{preset}.voice")
            _show(f"train {preset}, {TRAINING_SECONDS:.0f} s of speech", shared | {"train": preset, "voice": voice})
        _show("instant voice", shared | {"train": "instant", "voice": str(place / "instant.voice")})
        voice = str(place / f"{chosen.presets[0]}.voice")
        for rate in (24_000, 48_000):
            task = shared | {"convert": str(source), "voice": voice, "rate": rate}
            _show(f"convert {SOURCE_SECONDS:.0f} s to {rate // 1000} kHz", task, SOURCE_SECONDS)
        if chosen.hour:
            source = _source(place, takes, 3600.0)
            _show("convert 60 min to 48 kHz", shared | {"convert": str(source), "voice": voice, "rate": 48_000}, 3600.0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=Path, nargs="*", default=[])
    parser.add_argument("--presets", nargs="+", default=["fast", "balanced"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hour", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def _takes(folder: Path, recordings: Sequence[Path]) -> list[Path]:
    """Takes of 60 s in all, of the recordings or of generated speech."""
    from ml.decode import decode
    from tests.sounds import speech

    takes: list[Path] = []
    for index, recording in enumerate(recordings):
        takes.append(folder / f"take-{index}.flac")
        decode(recording.resolve(), takes[-1], mono=True)
    for index in range(0 if recordings else 10):
        takes.append(folder / f"take-{index}.flac")
        soundfile.write(takes[-1], speech(TRAINING_SECONDS / 10, rate=48_000, seed=index), 48_000)
    return takes


def _source(folder: Path, takes: Sequence[Path], seconds: float) -> Path:
    """The takes again and again for `seconds`, as one file at 48 kHz."""
    from ml.audio import load

    path = folder / f"source-{seconds:.0f}.flac"
    sound = np.concatenate([load(take, 48_000)[0] for take in takes])
    with soundfile.SoundFile(path, "w", 48_000, 1, "PCM_16") as file:
        missing = int(seconds * 48_000)
        while missing:
            part = sound[:missing]
            file.write(part)
            missing -= len(part)
    return path


def _show(title: str, task: dict[str, Any], seconds: float | None = None) -> None:
    command = [sys.executable, __file__, "--child", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout.splitlines()[-1])
    relative = f"{found['cpu'] / seconds:.3f} CPU, {found['wall'] / seconds:.3f} wall" if seconds else ""
    print(f"| {title} | {found['wall']:.1f} | {found['cpu']:.1f} | {relative} | {found['memory']:.0f} |", flush=True)


def _measure(task: dict[str, Any]) -> dict[str, float]:
    from ml.engine import ConvertOptions, Engine, TrainOptions

    engine = Engine(threads=task["threads"])
    engine.warm()
    takes, voice = [Path(path) for path in task["takes"]], Path(task["voice"])
    wall, cpu = time.monotonic(), time.process_time()
    with TemporaryDirectory() as folder:
        if task.get("train") == "instant":
            engine.instant(takes, voice)
        elif "train" in task:
            engine.train(takes, voice, options=TrainOptions(preset=task["train"]), workdir=Path(folder))
        else:
            options = ConvertOptions(sample_rate=task["rate"])
            engine.convert(voice, Path(task["convert"]), Path(folder) / "out.wav", options=options)
    return {
        "wall": time.monotonic() - wall,
        "cpu": time.process_time() - cpu,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main()
