"""Measures the pitch methods on this machine. Prints Markdown tables.

    python benchmarks/pitch.py [--methods swift fcpe ...] [--recordings DIR] [--seconds 5]

On sung notes whose pitch is known (tests/pitch_truth.py), and on recordings of a folder with a manifest.csv, each
cut at `--seconds`: all of its singing, which may last three times as long, and one of each speaker. There nobody
knows the truth, and a method is held against the median of the others. Each method runs in a process of its own, on
one thread.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # instead of this folder, whose names would hide those of the standard library
SPEECH = ROOT.parent / "shared" / "speech" / "dev"
NOISES_DB: dict[str, float | None] = {"clean": None, "20 dB": 20.0, "10 dB": 10.0}
GROSS_CENTS = 50
Track = NDArray[np.float64]


def main() -> None:
    """Runs every method in a child and prints the tables."""
    from ml.catalog import F0_METHODS

    chosen = _parser(list(F0_METHODS)).parse_args()
    if chosen.child:
        print(json.dumps(_measure(json.loads(chosen.child))))
        return
    recordings = _recordings(chosen.recordings, chosen.seconds)
    print(f"\n{os.cpu_count()} cores, one thread, load {os.getloadavg()[0]:.1f} at the start\n")
    found = {}
    for method in chosen.methods:
        task = json.dumps({"method": method, "recordings": recordings})
        command = [sys.executable, __file__, "--child", task]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=_one_thread())
        found[method] = json.loads(done.stdout.splitlines()[-1])
        print(f"{method} done", file=sys.stderr, flush=True)
    _print_truth(found)
    if recordings and len(found) > 2:
        _print_agreement(found, [kind for _, kind, _ in recordings])
    elif not recordings:
        print(f"\nNo recordings: {chosen.recordings} has no manifest.csv.")


def _parser(methods: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--recordings", type=Path, default=SPEECH)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def _one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


def _recordings(folder: Path, seconds: float) -> list[tuple[str, str, float]]:
    """Path, kind ("singing" or "speech") and seconds to use of each recording."""
    if not (folder / "manifest.csv").exists():
        return []
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sung = [(str(folder / row["path"]), "singing", 3 * seconds) for row in rows if row["kind"] == "singing"]
    first = {row["speaker_id"]: row["path"] for row in reversed(rows) if row["kind"] == "speech"}
    return sung + [(str(folder / first[speaker]), "speech", seconds) for speaker in sorted(first)]


def _measure(task: dict[str, Any]) -> dict[str, Any]:
    import torch

    from ml import f0
    from ml.audio import load
    from tests.pitch_truth import RATE, notes, score

    torch.set_num_threads(1)
    start = time.process_time()
    f0.extract(np.full(RATE // 10, 0.1, np.float32), RATE, task["method"])
    found: dict[str, Any] = {"start": time.process_time() - start, "truth": {}, "tracks": [], "seconds": 0.0}
    f0.extract(notes(count=1).samples, RATE, task["method"])
    start = time.process_time()
    for name, noise in NOISES_DB.items():
        truth = notes(noise_db=noise)
        found["truth"][name] = asdict(score(truth, f0.extract(truth.samples, RATE, task["method"]).f0))
        found["seconds"] += len(truth.samples) / RATE
    for path, _, seconds in task["recordings"]:
        samples = load(Path(path), RATE)[0][: int(seconds * RATE)]
        found["tracks"].append(f0.extract(samples, RATE, task["method"]).f0.tolist())
        found["seconds"] += len(samples) / RATE
    found["cpu"] = time.process_time() - start
    return found


def _print_truth(found: dict[str, Any]) -> None:
    print("| method | over 50 cents off, clean / 20 dB / 10 dB | an octave off | missed | false | RMS cents |", end="")
    print(" CPU s per second of sound | CPU s to start |\n|---|---|---|---|---|---|---|---|")
    for method, row in found.items():
        cells = [
            _three(row["truth"], "gross", _percent),
            _three(row["truth"], "octave", _percent),
            _three(row["truth"], "missed", _percent),
            _three(row["truth"], "false", _percent),
            _three(row["truth"], "cents", lambda value: f"{value:.1f}"),
            f"{row['cpu'] / row['seconds']:.3f}",
            f"{row['start']:.1f}",
        ]
        print(f"| `{method}` | {' | '.join(cells)} |")


def _three(scores: dict[str, dict[str, float]], name: str, shown: Callable[[float], str]) -> str:
    return " / ".join(shown(score[name]) for score in scores.values())


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _print_agreement(found: dict[str, Any], kinds: Sequence[str]) -> None:
    print("\n| method | sound | voiced | voiced as most others | over 50 cents from their median | RMS cents |")
    print("|---|---|---|---|---|---|")
    for method in found:
        for kind in dict.fromkeys(kinds):
            indices = [index for index, other in enumerate(kinds) if other == kind]
            own = _joined(found[method], indices)
            others = np.stack([_joined(row, indices) for name, row in found.items() if name != method])
            print(f"| `{method}` | {kind} | {' | '.join(_agreement(own, others))} |")


def _joined(row: dict[str, Any], indices: Sequence[int]) -> Track:
    return np.concatenate([np.array(row["tracks"][index]) for index in indices])


def _agreement(own: Track, others: Track) -> list[str]:
    """A track (T,) against the median of others (M, T) where most of them are voiced."""
    most = (others > 0).mean(axis=0) > 0.5
    median = np.nanmedian(np.where((others > 0) | ~most, others, np.nan), axis=0)
    both = most & (own > 0)
    cents = 1200 * np.abs(np.log2(own[both] / median[both]))
    near = cents <= GROSS_CENTS
    rms = float(np.sqrt(np.mean(np.square(cents[near]))))
    return [_percent((own > 0).mean()), _percent(((own > 0) == most).mean()), _percent((~near).mean()), f"{rms:.1f}"]


if __name__ == "__main__":
    main()
