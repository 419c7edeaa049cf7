"""From a recording to takes: cut at pauses into 2 to 12 s, graded; and the pre-flight report over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ml.activity import HOP, RATE, speech_probability
from ml.audio import Samples, blocks, describe, frame_levels, peaks, resample, save
from ml.config import ANALYSIS_RATE
from ml.converters.base import Report
from ml.errors import AudioError
from ml.grading import grade, reasons

SHORTEST_TAKE, LONGEST_TAKE = 2.0, 12.0
_MARGIN = 0.15
_PAUSE = 0.35
_HIGHEST_RATE = 48_000
_FRAME = HOP / RATE

Embed = Callable[[Samples], NDArray[np.float32]]


@dataclass(frozen=True)
class TakeInfo:
    """One take of a recording: a mono FLAC file, where it lies in the recording (s), and its grade.

    The figures are those of `ml.grading.Grade`; `speaker` is the unit vector of who speaks; `reasons` are sentences
    for the user, empty when `usable`; `peaks` is its waveform, 0..1.
    """

    path: Path
    start: float
    end: float
    snr_db: float
    clipping: float
    loudness_lufs: float
    reverberation: float
    f0_low_hz: float
    f0_median_hz: float
    f0_high_hz: float
    speech_share: float
    voiced_share: float
    speaker: list[float]
    usable: bool
    reasons: list[str]
    peaks: list[float]


def slice_recording(
    source: Path, out_dir: Path, *, embed: Embed, report: Report, f0_method: str = "swift"
) -> list[TakeInfo]:
    """Cuts `source` (WAV or FLAC of any length) into takes in `out_dir`, named `take-0001.flac` and so on.

    Raises AudioError when nobody speaks or sings in it.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    length, own_rate, _ = describe(source)
    report(0.0, "Finding the voice")
    probability, level = _survey(source, report, length / own_rate)
    spans = find_spans(probability >= 0.5, level, length / own_rate)
    if not spans:
        raise AudioError("No voice can be heard in this recording; check that the right file was sent.")
    noise_db = float(np.percentile(level, 10)) if len(level) else -90.0
    takes: list[TakeInfo] = []
    for index, (start, end) in enumerate(spans):
        report(0.4 + 0.6 * index / len(spans), "Grading the takes")
        samples, rate = _cut(source, start, end, own_rate)
        speech = _per_frame(probability, start, end)
        path = out_dir / f"take-{index + 1:04d}.flac"
        save(path, samples, rate)
        takes.append(_describe_take(path, samples, rate, start, end, speech, noise_db, embed, f0_method))
    report(1.0, "Done")
    return takes


def _survey(source: Path, report: Report, seconds: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probability of voice per 32 ms and level in dB per 10 ms of the whole recording."""
    levels: list[NDArray[np.float32]] = []
    done = 0.0

    def watched() -> object:
        nonlocal done
        for block in blocks(source, RATE):
            levels.append(frame_levels(block, RATE)[: len(block) * 100 // RATE])
            done += len(block) / RATE
            report(0.4 * min(1.0, done / max(seconds, 0.1)), "Finding the voice")
            yield block

    probability = speech_probability(watched())  # type: ignore[arg-type]
    return probability, np.concatenate(levels) if levels else np.zeros(0, np.float32)


def find_spans(speech: NDArray[np.bool_], level: NDArray[np.float32], seconds: float) -> list[tuple[float, float]]:
    """Stretches (start, end) in seconds to cut out, 2 to 12 s each where the voice allows.

    `speech` is per 32 ms, `level` in dB per 10 ms. Voiced stretches closer than 0.35 s are one; short neighbours
    are joined up to 12 s; longer ones are cut at their quietest frame in the second half.
    """
    runs = _runs(speech)
    joined: list[tuple[float, float]] = []
    for start, end in runs:
        near = joined and (start - joined[-1][1] < _PAUSE or joined[-1][1] - joined[-1][0] < SHORTEST_TAKE)
        if near and start - joined[-1][1] < 1.0 and end - joined[-1][0] <= LONGEST_TAKE:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    spans: list[tuple[float, float]] = []
    for start, end in joined:
        spans.extend(_split(max(0.0, start - _MARGIN), min(seconds, end + _MARGIN), level))
    return [(start, end) for start, end in spans if end - start >= 0.5]


def _runs(speech: NDArray[np.bool_]) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speech, [False]]).astype(np.int8)))
    return [(float(a) * _FRAME, float(b) * _FRAME) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _split(start: float, end: float, level: NDArray[np.float32]) -> list[tuple[float, float]]:
    pieces: list[tuple[float, float]] = []
    while end - start > LONGEST_TAKE:
        low, high = int((start + LONGEST_TAKE / 2) * 100), int((start + LONGEST_TAKE) * 100)
        cut = (low + int(np.argmin(level[low:high]))) / 100 if low < len(level) else start + LONGEST_TAKE / 2
        pieces.append((start, cut))
        start = cut
    return [*pieces, (start, end)]


def _cut(source: Path, start: float, end: float, own_rate: int) -> tuple[Samples, int]:
    """Mono samples from `start` to `end`, at the recording's rate or at most 48 kHz."""
    with soundfile.SoundFile(source) as file:
        file.seek(int(start * own_rate))
        frames = file.read(int((end - start) * own_rate), dtype="float32", always_2d=True)
    rate = min(own_rate, _HIGHEST_RATE)
    return resample(np.ascontiguousarray(frames.mean(axis=1, dtype=np.float32)), own_rate, rate), rate


def _per_frame(probability: NDArray[np.float32], start: float, end: float) -> NDArray[np.bool_]:
    times = np.arange(start, end, 0.01)
    index = np.minimum((times / _FRAME).astype(int), len(probability) - 1)
    return np.asarray(probability[index] >= 0.5)


def _describe_take(
    path: Path,
    samples: Samples,
    rate: int,
    start: float,
    end: float,
    speech: NDArray[np.bool_],
    noise_db: float,
    embed: Embed,
    f0_method: str,
) -> TakeInfo:
    figures = grade(samples, rate, speech, noise_db, f0_method)
    found = reasons(figures, end - start)
    speaker = embed(resample(samples, rate, ANALYSIS_RATE))
    return TakeInfo(
        path=path,
        start=round(start, 3),
        end=round(end, 3),
        **vars(figures),
        speaker=[round(float(value), 6) for value in speaker],
        usable=not found,
        reasons=found,
        peaks=peaks(samples),
    )
