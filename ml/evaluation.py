"""`python -m ml evaluate`: conversions judged by what is not part of the engine.

What is judged: a voice on any sources, results that are there already, or the voices of a set, trained for it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from ml.averages import Row
from ml.bench import Bench, Conversion, Outcome, Setting
from ml.corpora import (
    SOURCES_A_VOICE,
    TRAINING_SHARE,
    Clip,
    Trial,
    development_trials,
    held_out_trials,
    singing,
)
from ml.engine import ConvertOptions, silent
from ml.errors import AudioError, EngineError
from ml.tables import plain_tables, trained_tables
from ml.weights import CARD, FOLDER

Report = Callable[[float, str], None]
SUFFIXES = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".aiff", ".webm"}


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    `about`: what was run, by name. `tables`: rows by title; a row's "intervals" are its 95 % intervals.
    `conversions`: every single one, songs after speech. `failures`: a sentence for each file that was not judged.
    """

    about: dict[str, str]
    tables: dict[str, list[Row]]
    conversions: list[Conversion]
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Tables by title, and beside them "about", "every" (a row for each conversion) and "failures"."""
        every = [conversion.row for conversion in self.conversions]
        return {**self.tables, "about": self.about, "every": every, "failures": self.failures}


@dataclass(frozen=True)
class Task:
    """What to evaluate; one of these.

    `result` and `source`: finished results beside their sources, two files or two folders whose files pair by name.
    `voice` and `sources`: files or folders to convert into a voice. `development` and `held_out`: the folder of a set,
    whose voices (at most `limit`) are trained first, with `sources_a_voice` sources each.
    `target` are recordings of the speaker that a result is to sound like.
    """

    voice: Path | None = None
    target: Sequence[Path] = ()
    sources: Sequence[Path] = ()
    result: Path | None = None
    source: Path | None = None
    development: Path | None = None
    held_out: Path | None = None
    limit: int | None = None
    sources_a_voice: int = SOURCES_A_VOICE


def run(task: Task, setting: Setting, *, jobs: int = 1, date: str = "", report: Report = silent) -> Evaluation:
    """Does `task`; `date` only goes into the report.

    More than one of `jobs` are processes with one thread each, with the same figures besides times and, by a little,
    phone errors: PocketSphinx adapts from one recording to the next. Raises EngineError when it is not said what to
    evaluate, a judge is not installed, or nothing could be judged.
    """
    if jobs < 1:
        raise EngineError("The number of jobs must be 1 or more.")
    pieces, failures = _pieces(task)
    outcomes = _run_all(pieces, setting, jobs, report)
    failures += [sentence for outcome in outcomes for sentence in outcome.failures]
    conversions = [found for outcome in outcomes for found in (*outcome.conversions, *outcome.songs)]
    if not conversions:
        raise EngineError(f"Nothing could be judged. {' '.join(failures)}".strip())
    trained = any(outcome.facts for outcome in outcomes)
    tables = trained_tables(outcomes) if trained else plain_tables(outcomes)
    return Evaluation(_about(setting, jobs, date), tables, conversions, failures)


def _pieces(task: Task) -> tuple[list[_Piece], list[str]]:
    """The task in pieces, and a sentence for each file that is left out."""
    if task.result is not None and task.source is not None:
        return _pairs(task.result, task.source, task.voice, _own(task.target))
    if task.development is not None:
        sung = singing(task.development)
        trials = development_trials(task.development, task.sources_a_voice)[: task.limit]
        return [_Trained(trial, sung) for trial in trials], []
    if task.held_out is not None:
        speakers = json.loads((FOLDER / CARD).read_text(encoding="utf-8"))["held_out_speakers"]
        trials = held_out_trials(task.held_out, speakers, task.sources_a_voice)[: task.limit]
        return [_Trained(trial, []) for trial in trials], []
    if task.voice is not None and task.sources:
        own = _own(task.target)
        return [_Converted(task.voice, own, _clip(path)) for path in _files(task.sources)], []
    raise EngineError(
        "Say what to evaluate: --voice and --sources, --result and --source, --development, or --held-out."
    )


class _Piece(Protocol):
    """What one process does in one go."""

    def run(self, bench: Bench) -> Outcome:
        """Makes and judges it."""

    @property
    def name(self) -> str:
        """What the progress calls it."""


@dataclass(frozen=True)
class _Trained:
    """A voice to train and judge on its trial's sources, and on songs."""

    trial: Trial
    sung: list[Clip]

    @property
    def name(self) -> str:
        return self.trial.name

    def run(self, bench: Bench) -> Outcome:
        trial = self.trial
        voice, facts = bench.train(trial)
        centre = bench.centre(trial.testing)

        def judged(clip: Clip) -> Conversion:
            made, how = bench.convert(voice, clip)
            found = bench.judge(clip, made, centre, pitch=how["pitch"])
            found.row.update(voice=trial.name, rtf=how["rtf"])
            return found

        conversions = [judged(clip) for clip in trial.sources]
        for clip, conversion in zip(trial.sources, conversions, strict=True):
            conversion.row["direction"] = f"{clip.sex}->{trial.sex}"
        songs = [judged(clip) for clip in self.sung]
        for song in songs:
            song.row["direction"] = "singing"
        natural = [bench.natural(trial.name, trial.training, centre)]
        return Outcome(conversions, songs, natural, {"name": trial.name, "sex": trial.sex, **facts})


@dataclass(frozen=True)
class _Converted:
    """One source to convert into a finished voice and judge."""

    voice: Path
    target: list[Clip]
    clip: Clip

    @property
    def name(self) -> str:
        return self.clip.path.name

    def run(self, bench: Bench) -> Outcome:
        try:
            made, how = bench.convert(self.voice, self.clip)
            centre = bench.centre(self.target) if self.target else None
            found = bench.judge(self.clip, made, centre, pitch=how["pitch"])
            found.row.update(voice=self.voice.stem, rtf=how["rtf"])
            found.row["own_secs"] = bench.likeness(self.voice, found.result)
        except AudioError as error:
            return Outcome(failures=[str(error)])
        return Outcome([found], natural=_natural(bench, self.target))


@dataclass(frozen=True)
class _Pair:
    """A result that is there already, to judge beside its source."""

    voice: Path | None
    target: list[Clip]
    clip: Clip
    result: Path

    @property
    def name(self) -> str:
        return self.result.name

    def run(self, bench: Bench) -> Outcome:
        try:
            found = bench.judge(self.clip, self.result, bench.centre(self.target) if self.target else None)
            found.row.update(name=self.result.stem, source=self.clip.path.name)
            if self.voice is not None:
                found.row.update(voice=self.voice.stem, own_secs=bench.likeness(self.voice, found.result))
        except AudioError as error:
            return Outcome(failures=[str(error)])
        return Outcome([found], natural=_natural(bench, self.target))


def _natural(bench: Bench, target: list[Clip]) -> list[Row]:
    """The speaker's own recordings, the last quarter compared with the others, as in the sets; none of a single one."""
    split = max(1, round(TRAINING_SHARE * len(target)))
    if not target[split:]:
        return []
    return [bench.natural("the speaker's own recordings", target[split:], bench.centre(target[:split]))]


def _clip(path: Path) -> Clip:
    """A file as a source; a text file beside it, of the same name, says what is spoken in it."""
    text = path.with_suffix(".txt")
    said = text.read_text(encoding="utf-8").strip() if text.is_file() else ""
    return Clip(path, path.stem, "", 0.0, said, "source")


def _own(target: Sequence[Path]) -> list[Clip]:
    return [Clip(path, "", "", 0.0, "", "target") for path in _files(target)]


def _files(places: Sequence[Path]) -> list[Path]:
    """The files given, and the sounds in the folders given. Raises EngineError for what is not there."""
    found: list[Path] = []
    for place in places:
        inside = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES) if place.is_dir() else []
        if not inside and not place.is_file():
            raise EngineError(f"There is no sound at {place}; give a sound file or a folder of them.")
        found += inside or [place]
    return found


def _pairs(result: Path, source: Path, voice: Path | None, own: list[Clip]) -> tuple[list[_Piece], list[str]]:
    """Results with their sources; of folders, files whose names match but for the suffix, and a sentence for others."""
    if result.is_dir() != source.is_dir():
        raise EngineError("Give two files or two folders: --result and --source must be of one kind.")
    if not result.is_dir():
        return [_Pair(voice, own, _clip(_files([source])[0]), _files([result])[0])], []
    made, sources = _by_name(result), _by_name(source)
    failures = [f"{made[name].name} was not judged: no source has its name." for name in made if name not in sources]
    failures += [f"{sources[name].name} has no result of its name." for name in sources if name not in made]
    return [_Pair(voice, own, _clip(sources[name]), made[name]) for name in made if name in sources], failures


def _by_name(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder).with_suffix("")): path for path in _files([folder])}


def _run_all(pieces: Sequence[_Piece], setting: Setting, jobs: int, report: Report) -> list[Outcome]:
    """Outcomes in the order of `pieces`, whoever was ready first."""
    outcomes: dict[int, Outcome] = {}
    for index, outcome in _done(pieces, setting, jobs, report):
        outcomes[index] = outcome
        report(len(outcomes) / max(1, len(pieces)), f"Judged {pieces[index].name}")
    return [outcomes[index] for index in range(len(pieces))]


def _done(pieces: Sequence[_Piece], setting: Setting, jobs: int, report: Report) -> Iterator[tuple[int, Outcome]]:
    if jobs == 1:
        bench = Bench(setting)
        for index, piece in enumerate(pieces):
            report(index / len(pieces), f"Judging {piece.name}")
            yield index, piece.run(bench)
        return
    # OpenMP and torch do not survive a fork; a fresh process does not inherit their threads.
    context = multiprocessing.get_context("spawn")
    alone = Setting(**{**vars(setting), "threads": 1})
    with ProcessPoolExecutor(jobs, context, _open_bench, (alone,)) as pool:
        waiting = {pool.submit(_run_one, piece): index for index, piece in enumerate(pieces)}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


_bench: list[Bench] = []


def _open_bench(setting: Setting) -> None:
    _bench[:] = [Bench(setting)]


def _run_one(piece: _Piece) -> Outcome:
    return piece.run(_bench[0])


def _about(setting: Setting, jobs: int, date: str) -> dict[str, str]:
    """What was run, for the report: versions, settings, machine."""
    card = json.loads((FOLDER / CARD).read_text(encoding="utf-8"))
    options = asdict(ConvertOptions(retrieval=setting.retrieval, preset=setting.preset))
    said = ", ".join(f"{name} {value}" for name, value in options.items() if name != "tags" and value is not None)
    threads = 1 if jobs > 1 else setting.threads or "default"
    found = {
        "date": date,
        "voicecloud": _version(),
        "base": f"{card['version']} ({card['sha256']['decoder'][:12]})",
        "converter": f"{setting.converter}, instant voices" if setting.instant else setting.converter,
        "conversion settings": f"a live stream, retrieval {setting.retrieval:g}" if setting.stream else said,
        "processes": f"{jobs}, threads in each: {threads}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
    }
    return {name: value for name, value in found.items() if value}


def _version() -> str:
    """The newest version that the changelog names; empty where the package lies without it."""
    changelog = Path(__file__).parents[1] / "CHANGELOG.md"
    lines = changelog.read_text(encoding="utf-8").splitlines() if changelog.is_file() else []
    return next((line.removeprefix("## ") for line in lines if line.startswith("## ")), "")
