"""How far the pre-flight's predicted quality is from what is measured once a voice is there: a table.

    python benchmarks/preflight_error.py --figures development.json --development DIR
    python benchmarks/preflight_error.py --figures held-out.json --held-out DIR

The figures are those of `python -m ml evaluate` for the same set. Every voice's training recordings are sliced and
graded as the site does; the prediction is compared with the mean over the voice's conversions. The error is that of a
straight line fitted to all other voices (leave-one-out), beside that of guessing their mean.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from numpy.typing import NDArray

from ml.audio import load, save
from ml.corpora import Trial, development_trials, held_out_trials
from ml.decode import decode
from ml.engine import Engine
from ml.errors import AudioError
from ml.preflight import Preflight
from ml.weights import CARD, FOLDER

Array = NDArray[np.float64]
MEASURED = {"overall": "OVRL", "p808": "P.808", "secs": "SECS"}


def main() -> None:
    """Prints a row for every voice and one for every measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--development", type=Path)
    parser.add_argument("--held-out", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.development:
        trials = development_trials(chosen.development)
    else:
        speakers = json.loads((FOLDER / CARD).read_text(encoding="utf-8"))["held_out_speakers"]
        trials = held_out_trials(chosen.held_out, speakers)
    measured = _measured(chosen.figures)
    engine, found = Engine(threads=1), {}
    for trial in trials:
        if trial.name in measured:
            found[trial.name] = _promised(engine, trial)
    print(f"| voice | usable s | predicted | {' | '.join(MEASURED.values())} |\n|---|---|---|---|---|---|")
    for name, report in found.items():
        figures = " | ".join(f"{measured[name][key]:.2f}" for key in MEASURED)
        print(f"| {name} | {report.usable_seconds:.0f} | {report.quality:.2f} | {figures} |")
    print("\n| measure | correlation | error of the prediction | error of guessing the mean |\n|---|---|---|---|")
    predicted = np.array([report.quality for report in found.values()])
    for key, title in MEASURED.items():
        values = np.array([measured[name][key] for name in found])
        correlation = float(np.corrcoef(predicted, values)[0, 1])
        print(f"| {title} | {correlation:.2f} | {_left_out(predicted, values):.3f} | {_left_out(None, values):.3f} |")


def _measured(path: Path) -> dict[str, dict[str, float]]:
    """Means over the spoken conversions of each voice."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in json.loads(path.read_text(encoding="utf-8"))["every"]:
        if row.get("direction") != "singing":
            rows[row["voice"]].append(row)
    return {name: {key: float(np.mean([row[key] for row in own])) for key in MEASURED} for name, own in rows.items()}


def _promised(engine: Engine, trial: Trial) -> Preflight:
    takes = []
    with TemporaryDirectory() as folder:
        for index, clip in enumerate(trial.training):
            place = Path(folder) / str(index)
            place.mkdir()
            decode(clip.path.resolve(), place / "whole.flac", mono=True)
            samples, rate = load(place / "whole.flac")
            end = len(samples) if clip.end is None else round(clip.end * rate)
            save(place / "recording.flac", samples[round(clip.start * rate) : end], rate)
            try:
                takes += engine.slice(place / "recording.flac", place)
            except AudioError as error:
                print(f"{trial.name}: {error}", file=sys.stderr)
        return engine.preflight(takes)


def _left_out(predicted: Array | None, values: Array) -> float:
    """Mean absolute error of a line through the other voices; without `predicted`, of their mean."""
    errors = []
    for index in range(len(values)):
        others = np.arange(len(values)) != index
        if predicted is None:
            guess = float(values[others].mean())
        else:
            slope, offset = np.polyfit(predicted[others], values[others], 1)
            guess = float(slope * predicted[index] + offset)
        errors.append(abs(guess - values[index]))
    return float(np.mean(errors))


if __name__ == "__main__":
    main()
