"""`python -m ml evaluate`: conversions judged by what is not part of the engine, as tables.

Everything made is kept under `work`, named by what it was made from, so that an evaluation that was stopped goes on and
one that is repeated costs nothing. Change the code and the figures stay: give another `work` then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml import f0
from ml.audio import load
from ml.corpora import SOURCES_A_VOICE, Clip, Trial, development_trials, held_out_trials, singing
from ml.decode import decode
from ml.engine import ConvertOptions, Engine, TrainOptions, silent
from ml.errors import EngineError
from ml.judges import RATE, Judges, Samples, edit_distance
from ml.metrics import contour_agreement, cosine
from ml.weights import CARD, FOLDER

Report = Callable[[float, str], None]
Row = dict[str, Any]
SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".aiff", ".webm"}


@dataclass(frozen=True)
class Setting:
    """How voices are trained and sources converted in one evaluation."""

    preset: str
    retrieval: float
    threads: int | None
    work: Path


def run(
    *,
    voice: Path | None = None,
    target: Sequence[Path] = (),
    sources: Sequence[Path] = (),
    development: Path | None = None,
    held_out: Path | None = None,
    preset: str = "balanced",
    retrieval: float = 0.5,
    work: Path,
    limit: int | None = None,
    sources_a_voice: int = SOURCES_A_VOICE,
    threads: int | None = None,
    report: Report = silent,
) -> dict[str, list[Row]]:
    """Evaluates one voice on sources, or trains and evaluates the voices of a set; returns tables by name.

    Raises EngineError when it is not said what to evaluate, or a judge is not installed.
    """
    setting = Setting(preset, retrieval, threads, work)
    bench = _Bench(setting, Judges())
    work.mkdir(parents=True, exist_ok=True)
    if development is not None:
        return bench.trials(development_trials(development, sources_a_voice)[:limit], singing(development), report)
    if held_out is not None:
        speakers = json.loads((FOLDER / CARD).read_text(encoding="utf-8"))["held_out_speakers"]
        return bench.trials(held_out_trials(held_out, speakers, sources_a_voice)[:limit], [], report)
    if voice is None or not sources:
        raise EngineError("Say what to evaluate: --voice and --sources, --development, or --held-out.")
    return bench.voice(voice, target, _files(sources), report)


def _files(places: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for place in places:
        inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES) if place.is_dir() else []
        found += inside or [place]
    return found


class _Bench:
    def __init__(self, setting: Setting, judges: Judges) -> None:
        self.setting, self.judges, self.work = setting, judges, setting.work
        self.engine = Engine(threads=setting.threads)

    def voice(
        self, voice: Path, target: Sequence[Path], sources: Sequence[Path], report: Report
    ) -> dict[str, list[Row]]:
        """One finished voice; without recordings of its speaker there is no similarity to them."""
        centre = self._centre([self._plain(path) for path in target]) if target else None
        rows: list[Row] = []
        for index, path in enumerate(sources):
            report(index / len(sources), f"Judging {path.name}")
            clip = Clip(path, path.stem, "", 0.0, "", "source")
            own = self.judges.speaker(self._plain(path))
            rows.append(self._conversion(voice, clip, centre, own))
        report(1.0, "Done")
        return {"conversions": rows, "mean": [_mean("mean", rows)]}

    def trials(self, trials: Sequence[Trial], sung: Sequence[Clip], report: Report) -> dict[str, list[Row]]:
        """Voices trained and judged: a row a voice, their mean, directions, singing, and natural speech beside them."""
        voices, directions, songs, natural = [], [], [], []
        every: list[Row] = []
        for index, trial in enumerate(trials):
            report(index / len(trials), f"Training {trial.name}")
            voice, facts = self._train(trial)
            centre = self._centre([self._plain(clip.path) for clip in trial.testing])
            rows: list[Row] = []
            for number, clip in enumerate(trial.sources):
                report((index + 0.5 + 0.5 * number / len(trial.sources)) / len(trials), f"Judging {trial.name}")
                own = self._centre([self._plain(clip.path)])
                rows.append(self._conversion(voice, clip, centre, own) | {"direction": f"{clip.sex}->{trial.sex}"})
            every += rows
            voices.append(_mean(f"{trial.name} ({trial.sex})", rows) | facts)
            songs += [_mean(trial.name, [self._conversion(voice, clip, centre, None)]) for clip in sung]
            natural.append(self._natural(trial, centre))
        for direction in sorted({row["direction"] for row in every}):
            directions.append(_mean(direction, [row for row in every if row["direction"] == direction]))
        report(1.0, "Done")
        tables = {"voices": [*voices, _mean("mean", every)], "directions": directions, "natural": natural}
        return tables | ({"singing": songs} if songs else {})

    def _train(self, trial: Trial) -> tuple[Path, Row]:
        """The voice file, and how it came about; from `work` when it has been made before."""
        base = json.loads((FOLDER / CARD).read_text(encoding="utf-8"))["sha256"]
        mark = _mark(trial.name, [clip.path.name for clip in trial.training], base, self.setting.preset)
        voice, facts = self.work / f"{mark}.voice", self.work / f"{mark}.json"
        if not facts.exists():
            takes = [self._decoded(clip.path) for clip in trial.training]
            options = TrainOptions(preset=self.setting.preset)
            result = self.engine.train(takes, voice, options=options, workdir=self.work / f"{mark}.run")
            facts.write_text(json.dumps({"training_seconds": result.seconds}), encoding="utf-8")
        return voice, json.loads(facts.read_text(encoding="utf-8"))

    def _conversion(
        self, voice: Path, clip: Clip, centre: NDArray[np.float32] | None, own: NDArray[np.float32] | None
    ) -> Row:
        """One conversion, made and judged, or read from `work`."""
        mark = _mark(hashlib.sha256(voice.read_bytes()).hexdigest(), str(clip.path), self.setting.retrieval)
        path, judged = self.work / f"{mark}.wav", self.work / f"{mark}.judged.json"
        if not judged.exists():
            options = ConvertOptions(retrieval=self.setting.retrieval, preset=self.setting.preset)
            result = self.engine.convert(voice, self._decoded(clip.path), path, options=options)
            row = self._judge(clip, path, result.pitch) | {"rtf": result.metrics["real_time_factor"]}
            judged.write_text(json.dumps(row), encoding="utf-8")
        row = json.loads(judged.read_text(encoding="utf-8"))
        vector = np.array(row.pop("vector"), np.float32)
        if centre is not None:
            row["secs"] = cosine(vector, centre)
        if own is not None:
            row["source_secs"] = cosine(vector, own)
        return {"name": clip.path.stem, **row}

    def _judge(self, clip: Clip, path: Path, pitch: float) -> Row:
        made, source = load(path, RATE)[0], self._plain(clip.path)
        shift = 2 ** (pitch / 12)
        row: Row = dict(self.judges.naturalness(made))
        # Two pitch trackers, because each alone also counts its own octave errors on the source.
        tracks = [f0.extract(samples, RATE, "swift").f0 for samples in (source, made)]
        row["f0_correlation"], row["f0_cents"] = contour_agreement(tracks[0] * shift, tracks[1])
        tracks = [self.judges.f0(samples) for samples in (source, made)]
        row["fcpe_correlation"], row["fcpe_cents"] = contour_agreement(tracks[0] * shift, tracks[1])
        row["vector"] = [float(value) for value in self.judges.speaker(made)]
        wanted = self.judges.phones_of(clip.transcript)
        if wanted and clip.role != "singing":
            row |= {
                "phones": len(wanted),
                "words": len(clip.transcript.split()),
                "errors": edit_distance(wanted, self.judges.heard_phones(made)),
                "natural_errors": self._natural_errors(clip, wanted),
            }
        return row

    def _natural_errors(self, clip: Clip, wanted: list[str]) -> int:
        path = self.work / f"{_mark('natural', str(clip.path))}.json"
        if not path.exists():
            found = edit_distance(wanted, self.judges.heard_phones(self._plain(clip.path)))
            path.write_text(json.dumps(found), encoding="utf-8")
        return int(json.loads(path.read_text(encoding="utf-8")))

    def _natural(self, trial: Trial, centre: NDArray[np.float32]) -> Row:
        """What the judges say of the target's own recordings, and how near the unconverted sources are to it."""
        spoken = [self._plain(clip.path) for clip in trial.training]
        marks = [self.judges.naturalness(samples) for samples in spoken]
        return {
            "name": trial.name,
            "secs": float(np.mean([cosine(self.judges.speaker(samples), centre) for samples in spoken])),
            "unconverted_secs": float(
                np.mean([cosine(self.judges.speaker(self._plain(clip.path)), centre) for clip in trial.sources])
            ),
            "overall": float(np.mean([mark["overall"] for mark in marks])),
            "p808": float(np.mean([mark["p808"] for mark in marks])),
        }

    def _centre(self, signals: Sequence[Samples]) -> NDArray[np.float32]:
        return np.asarray(np.mean([self.judges.speaker(samples) for samples in signals], axis=0), np.float32)

    def _plain(self, path: Path) -> Samples:
        return load(self._decoded(path), RATE)[0]

    def _decoded(self, path: Path) -> Path:
        out = self.work / f"{_mark('decoded', str(path.resolve()))}.flac"
        if not out.exists():
            decode(path.resolve(), out, mono=True)
        return out


def _mark(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]


_AVERAGED = (
    "secs", "source_secs", "f0_correlation", "f0_cents", "fcpe_correlation", "fcpe_cents", "overall", "p808", "rtf",
)  # fmt: skip


def _mean(name: str, rows: Sequence[Row]) -> Row:
    """The mean of rows; phone errors are summed first, so that long sentences count for more."""
    found: Row = {"name": name, "conversions": len(rows)}
    for key in _AVERAGED:
        values = [row[key] for row in rows if key in row]
        if values:
            found[key] = float(np.mean(values))
    if "secs" in found and "source_secs" in found:
        found["margin"] = found["secs"] - found["source_secs"]
    spoken = [row for row in rows if "phones" in row]
    if spoken:
        phones = sum(row["phones"] for row in spoken)
        natural = sum(row["natural_errors"] for row in spoken)
        found["words"] = sum(row["words"] for row in spoken)
        found["per"] = sum(row["errors"] for row in spoken) / phones
        found["natural_per"] = natural / phones
        found["per_ratio"] = sum(row["errors"] for row in spoken) / max(1, natural)
    return found


def as_text(tables: dict[str, list[Row]]) -> str:
    """The tables in Markdown, each with the columns that any of its rows has."""
    lines: list[str] = []
    for title, rows in tables.items():
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines += ["", f"### {title}", "", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for row in rows:
            lines.append("| " + " | ".join(_cell(row.get(column, "")) for column in columns) + " |")
    return "\n".join(lines).strip()


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
