"""How far the pre-flight's predicted quality is from what is measured once a voice is there: a table.

    python benchmarks/preflight_error.py --figures development.json --development DIR
    python benchmarks/preflight_error.py --figures held-out.json --held-out DIR

The figures are those of `python -m ml evaluate` for the same set. Every voice's training recordings are sliced and
graded as the site does; each grade is compared with the mean over the voice's conversions. The error is that of a
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
from ml.takes import TakeInfo
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
            found[trial.name] = _graded(engine, trial)
    grades = list(next(iter(found.values())))
    print(f"| voice | {' | '.join(grades)} | {' | '.join(MEASURED.values())} |")
    print("|---|" + "---|" * (len(grades) + len(MEASURED)))
    for name, graded in found.items():
        row = [*graded.values(), *(measured[name][key] for key in MEASURED)]
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in row)} |")
    print("\n| measure | mean | grade | correlation | error with the grade | error of guessing the mean |")
    print("|---|---|---|---|---|---|")
    for key, title in MEASURED.items():
        values = np.array([measured[name][key] for name in found])
        for grade in grades:
            graded_by = np.array([row[grade] for row in found.values()])
            fit = f"{np.corrcoef(graded_by, values)[0, 1]:.2f} | {_left_out(graded_by, values):.3f}"
            print(f"| {title} | {values.mean():.3f} | {grade} | {fit} | {_left_out(None, values):.3f} |")


def _measured(path: Path) -> dict[str, dict[str, float]]:
    """Means over the spoken conversions of each voice."""
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in json.loads(path.read_text(encoding="utf-8"))["every"]:
        if row.get("direction") != "singing":
            rows[row["voice"]].append(row)
    return {name: {key: float(np.mean([row[key] for row in own])) for key in MEASURED} for name, own in rows.items()}


def _graded(engine: Engine, trial: Trial) -> dict[str, float]:
    """What may tell how good a voice will be, before it is trained."""
    takes: list[TakeInfo] = []
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
        report = engine.preflight(takes)
    usable = [take for take in takes if take.usable]
    low, high = min(take.f0_low_hz for take in usable), max(take.f0_high_hz for take in usable)
    return {
        "rating": report.quality,
        "usable s": report.usable_seconds,
        "SNR dB": float(np.median([take.snr_db for take in usable])),
        "reverberation s": float(np.median([take.reverberation for take in usable])),
        "pitch octaves": float(np.log2(high / low)),
        "lowest pitch Hz": low,
    }


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
