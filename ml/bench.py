"""Where conversions are made and judged for an evaluation: one bench a process.

Everything made is kept under `work`, named by what it was made from, so that an evaluation that was stopped goes on and
one that is repeated costs nothing. Change the code and the figures stay: give another `work` then.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml import f0, voicefile
from ml.audio import atomic, describe, frame_levels, load, save
from ml.averages import Row
from ml.catalog import CONVERTERS
from ml.config import ANALYSIS_RATE
from ml.converters.base import HIGHEST_OUTPUT_RATE, LOWEST_OUTPUT_RATE, Converter
from ml.converters.streaming import StreamOptions
from ml.corpora import Clip, Trial
from ml.decode import decode
from ml.engine import ConvertOptions, Engine, TrainOptions
from ml.errors import AudioError
from ml.judges import RATE, Judges, Samples, edit_distance
from ml.metrics import clicks, contour_agreement, cosine, length_error, silence_level
from ml.weights import CARD, FOLDER

Vector = NDArray[np.float32]

INSTANT_SECONDS = 10.0
_LIKENESS_SECONDS = 60
_FIGURES = 2  # raised when conversions are judged otherwise, so that older figures are not taken for these


@dataclass(frozen=True)
class Setting:
    """How voices are trained and sources converted in one evaluation, and where what is made is kept.

    With `instant` voices are made of the first INSTANT_SECONDS of their speech, without training. With `stream` sources
    go through the voice as if they were spoken just now, pushed in by tenths of a second.
    """

    preset: str
    retrieval: float
    threads: int | None
    work: Path
    converter: str = "native"
    instant: bool = False
    stream: bool = False
    device: str = "auto"


@dataclass(frozen=True)
class Conversion:
    """A judged conversion: its figures, and the two sounds, decoded to mono FLAC or WAV at their own rates."""

    row: Row
    source: Path
    result: Path


@dataclass(frozen=True)
class Outcome:
    """What one piece of an evaluation found: conversions, songs, natural speech, and sentences on what failed."""

    conversions: list[Conversion] = field(default_factory=list)
    songs: list[Conversion] = field(default_factory=list)
    natural: list[Row] = field(default_factory=list)
    facts: Row = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Bench:
    """An engine and the judges. Raises EngineError when a judge is not installed."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.work, self.judges = setting, setting.work, Judges()
        self.engine = Engine(converter=setting.converter, threads=setting.threads, device=setting.device)
        self.work.mkdir(parents=True, exist_ok=True)
        card = json.loads((FOLDER / CARD).read_text(encoding="utf-8"))
        self._base: dict[str, str] = card["sha256"]

    def train(self, trial: Trial) -> tuple[Path, Row]:
        """The trial's voice file, and how it came about; from `work` when it has been made before."""
        if self.setting.instant:
            return self._instant(trial)
        mark = _mark(trial.name, [clip.path.name for clip in trial.training], self._base, self.setting.preset)
        voice, facts = self.work / f"{mark}.voice", self.work / f"{mark}.json"
        if not facts.exists():
            takes = [self.decoded(clip) for clip in trial.training]
            options = TrainOptions(preset=self.setting.preset)
            result = self.engine.train(takes, voice, options=options, workdir=self.work / f"{mark}.run")
            facts.write_text(json.dumps({"training_seconds": result.seconds}), encoding="utf-8")
        spoken = {"speech_seconds": sum(clip.seconds for clip in trial.training)}
        return voice, spoken | json.loads(facts.read_text(encoding="utf-8"))

    def _instant(self, trial: Trial) -> tuple[Path, Row]:
        clips, left = [], INSTANT_SECONDS
        for clip in trial.training:
            if left > 0:
                clips.append(replace(clip, end=clip.start + min(clip.seconds, left)))
                left -= clip.seconds
        mark = _mark(trial.name, [clip.path.name for clip in clips], self._base, "instant", INSTANT_SECONDS)
        voice, facts = self.work / f"{mark}.voice", self.work / f"{mark}.json"
        if not facts.exists():
            result = self.engine.instant([self.decoded(clip) for clip in clips], voice)
            facts.write_text(json.dumps({"training_seconds": result.seconds}), encoding="utf-8")
        spoken = {"speech_seconds": INSTANT_SECONDS - max(0.0, left)}
        return voice, spoken | json.loads(facts.read_text(encoding="utf-8"))

    def convert(self, voice: Path, clip: Clip) -> tuple[Path, Row]:
        """`clip` in `voice`: the result's file, its shift of pitch in semitones and its real-time factor.

        The shift of a stream is None: it follows what was heard so far.
        """
        options = ConvertOptions(retrieval=self.setting.retrieval, preset=self.setting.preset)
        parts = ("made", _sha256(voice), self._base, self._identity(clip), asdict(options), self.setting.stream)
        path = self.work / f"{_mark(*parts)}.wav"

        def make() -> Row:
            if self.setting.stream:
                return {"pitch": None, "rtf": self._streamed(voice, clip, path)}
            result = self.engine.convert(voice, self.decoded(clip), path, options=options)
            return {"pitch": result.pitch, "rtf": result.metrics["real_time_factor"]}

        return path, self._stored(make, *parts)

    def _streamed(self, voice: Path, clip: Clip, path: Path) -> float:
        """Writes `clip` as it comes out of a stream into `voice`; returns the real-time factor."""
        options = StreamOptions(retrieval=self.setting.retrieval, preset=self.setting.preset)
        rate = min(max(describe(self.decoded(clip))[1], LOWEST_OUTPUT_RATE), HIGHEST_OUTPUT_RATE)
        samples, _ = load(self.decoded(clip), rate)
        stream, begun = self.engine.stream(voice, rate, options=options), time.monotonic()
        made = [stream.push(samples[start : start + rate // 10]) for start in range(0, len(samples), rate // 10)]
        save(path, np.concatenate([*made, stream.flush()]), rate)
        return (time.monotonic() - begun) * rate / max(1, len(samples))

    def judge(self, clip: Clip, result: Path, centre: Vector | None, *, pitch: float | None = None) -> Conversion:
        """All figures of a result of `clip`; without a `centre` of its speaker there is no similarity to them.

        `pitch` is the shift in semitones; None finds it, as the median distance of the two contours. Raises AudioError
        when either sound cannot be read.
        """
        source, made = self.decoded(clip), self.decoded(Clip(result, "", "", 0.0, "", "result"))
        parts = ("figures", _FIGURES, self._identity(clip), clip.transcript, clip.role, _sha256(result), pitch)
        row = self._stored(lambda: self._figures(clip, source, made, pitch), *parts)
        vector, own = np.array(row.pop("vector"), np.float32), self.vector(clip)
        row["source_secs"] = cosine(vector, own)
        if centre is not None:
            row["secs"] = cosine(vector, centre)
            row["margin"] = row["secs"] - row["source_secs"]
            row["unconverted_secs"] = cosine(own, centre)
        return Conversion({"name": clip.path.stem, **row}, source, made)

    def _figures(self, clip: Clip, source: Path, result: Path, pitch: float | None) -> Row:
        before, made = load(source, RATE)[0], load(result, RATE)[0]
        row: Row = {"seconds": len(made) / RATE, **self.judges.naturalness(made)}
        row |= {f"source_{name}": value for name, value in self._naturalness(clip).items()}
        row |= self._contours(before, made, pitch) | self._phones(clip, made)
        (frames, rate, _), (source_frames, source_rate, _) = describe(result), describe(source)
        row["length_error"] = abs(length_error(frames, rate, source_frames, source_rate))
        silence = silence_level(frame_levels(before, RATE), frame_levels(made, RATE))
        row |= {} if silence is None else {"silence_db": silence}
        row["clicks"], row["source_clicks"] = clicks(*load(result)), clicks(*load(source))
        row["vector"] = [float(value) for value in self.judges.speaker(made)]
        return row

    def _contours(self, source: Samples, made: Samples, pitch: float | None) -> Row:
        """Two pitch trackers, because each alone also counts its own octave errors on the source."""
        tracks = [f0.extract(samples, RATE, "swift").f0 for samples in (source, made)]
        judged = [self.judges.f0(samples) for samples in (source, made)]
        shift = pitch if pitch is not None else _distance(*_even(*tracks))
        row: Row = {"pitch": shift}
        for name, (wanted, got) in (("f0", tracks), ("fcpe", judged)):
            wanted, got = _even(wanted, got)
            row[f"{name}_correlation"], row[f"{name}_cents"] = contour_agreement(wanted * 2 ** (shift / 12), got)
        return row

    def _phones(self, clip: Clip, made: Samples) -> Row:
        """Phone errors against the transcript, or else against what is heard in the source itself."""
        if clip.role == "singing":
            return {}
        heard, natural = self.judges.heard_phones(made), self._heard(clip)
        wanted = self.judges.phones_of(clip.transcript)
        if not wanted:
            return {"heard_phones": len(natural), "heard_errors": edit_distance(natural, heard)} if natural else {}
        return {
            "phones": len(wanted),
            "words": len(clip.transcript.split()),
            "errors": edit_distance(wanted, heard),
            "natural_errors": edit_distance(wanted, natural),
        }

    def natural(self, name: str, clips: Sequence[Clip], centre: Vector) -> Row:
        """What the judges say of a speaker's own recordings."""
        marks = [self._naturalness(clip) for clip in clips]
        return {
            "name": name,
            "secs": float(np.mean([cosine(self.vector(clip), centre) for clip in clips])),
            "overall": float(np.mean([mark["overall"] for mark in marks])),
            "p808": float(np.mean([mark["p808"] for mark in marks])),
        }

    def centre(self, clips: Sequence[Clip]) -> Vector:
        """The mean of the clips' speaker vectors, (256,)."""
        return np.asarray(np.mean([self.vector(clip) for clip in clips], axis=0), np.float32)

    def vector(self, clip: Clip) -> Vector:
        """The verifier's unit vector (256,) of a recording."""
        found = self._stored(
            lambda: [float(value) for value in self.judges.speaker(self._plain(clip))], "speaker", self._identity(clip)
        )
        return np.array(found, np.float32)

    def decoded(self, clip: Clip) -> Path:
        """The recording, or the part that the clip is, as mono FLAC. Raises AudioError, naming the file."""
        out = self.work / f"{_mark('decoded', self._identity(clip))}.flac"
        if out.exists():
            return out
        if clip.start or clip.end is not None:
            samples, rate = load(self.decoded(Clip(clip.path, "", "", 0.0, "", "")))
            end = len(samples) if clip.end is None else round(clip.end * rate)
            save(out, samples[round(clip.start * rate) : end], rate)
            return out
        try:
            decode(clip.path.resolve(), out, mono=True)
        except AudioError as error:
            raise AudioError(f"{clip.path.name}: {error}") from None
        return out

    def likeness(self, voice: Path, sound: Path) -> float:
        """Cosine of a decoded sound's first minute with a voice's recordings, by the engine's own speaker encoder.

        Raises WeightsError for a bad voice file.
        """
        traits = voicefile.read(voice, self.setting.converter)[1]
        samples = load(sound, ANALYSIS_RATE)[0][: _LIKENESS_SECONDS * ANALYSIS_RATE]
        return cosine(self._converter.embed(samples), np.array(traits.embedding, np.float32))

    @cached_property
    def _converter(self) -> Converter:
        converter: Converter = CONVERTERS[self.setting.converter].load()()
        return converter

    def _naturalness(self, clip: Clip) -> dict[str, float]:
        found: dict[str, float] = self._stored(
            lambda: self.judges.naturalness(self._plain(clip)), "naturalness", self._identity(clip)
        )
        return found

    def _heard(self, clip: Clip) -> list[str]:
        found: list[str] = self._stored(
            lambda: self.judges.heard_phones(self._plain(clip)), "heard", self._identity(clip)
        )
        return found

    def _plain(self, clip: Clip) -> Samples:
        return load(self.decoded(clip), RATE)[0]

    def _identity(self, clip: Clip) -> list[Any]:
        """A file that was changed or replaced is another one, wherever its name is the same."""
        if not clip.path.is_file():
            raise AudioError(f"{clip.path.name}: there is no such file.")
        state = clip.path.stat()
        return [str(clip.path.resolve()), state.st_size, state.st_mtime_ns, clip.start, clip.end]

    def _stored(self, make: Callable[[], Any], *parts: Any) -> Any:
        """What `make` returns, by way of JSON; made once for the same `parts`, in whichever process."""
        path = self.work / f"{_mark(*parts)}.json"
        if not path.exists():
            found = make()
            with atomic(path) as part:
                part.write_text(json.dumps(found), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))


def _distance(source: Samples, result: Samples) -> float:
    """The median distance of two f0 tracks (T,) in semitones over frames that both have voiced; 0 without any."""
    both = (source > 0) & (result > 0)
    return float(np.median(12 * np.log2(result[both] / source[both]))) if both.any() else 0.0


def _even(first: Samples, second: Samples) -> tuple[Samples, Samples]:
    count = min(len(first), len(second))
    return first[:count], second[:count]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _mark(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]
