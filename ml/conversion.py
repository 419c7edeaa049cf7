"""One conversion of any length in constant memory: listen, render piece by piece, mix and write.

Three passes over the sound, each in blocks. The first brings the source to the analysis rate in a temporary file and
finds pitch and level. The second cuts it at the quietest frames, renders each piece with context on both sides, and
cross-fades. The third brings the result to the output rate and length, gives it the source's panorama, its loudness
and a limiter, and encodes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from ml import encoding, f0, loudness
from ml.audio import LIMIT_REACH, Samples, blocks, describe, fit, frame_levels, limit, peaks
from ml.catalog import F0_METHODS, PRESETS
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE, SYNTHESIS_RATES
from ml.converters.base import (
    HIGHEST_OUTPUT_RATE,
    LOWEST_OUTPUT_RATE,
    OUTPUT_FORMATS,
    ConvertOptions,
    ConvertResult,
    Piece,
    Report,
    Voice,
)
from ml.errors import AudioError, EngineError
from ml.metrics import contour_agreement, cosine

SHORTEST_PIECE, LONGEST_PIECE = 600, 1200  # frames: pieces of 6 to 12 s, cut where it is quietest
CONTEXT = 80  # frames on each side: more than the receptive fields of content encoder and decoder together
FADE = 2  # frames of cross-fade
SILENCE_DB = -62.0
_CURVE_POINTS = 2000
_HIGHEST_SHIFT = 24.0

Embed = Callable[[Samples], NDArray[np.float32]]


@dataclass(frozen=True)
class _Heard:
    """What the first pass found: a file at ANALYSIS_RATE, its f0, level and A-weighted loudness per frame."""

    path: Path
    samples: int
    f0: NDArray[np.float32]
    level: NDArray[np.float32]
    loudness: NDArray[np.float32]


def convert(
    voice: Voice, source: Path, out: Path, *, options: ConvertOptions, embed: Embed, report: Report
) -> ConvertResult:
    """Converts `source` (WAV or FLAC, mono or stereo) into `voice`; see `ml.engine.Engine.convert`."""
    started = time.monotonic()
    check(options)
    length, own_rate, channels = describe(source)
    rate = options.sample_rate or min(max(own_rate, LOWEST_OUTPUT_RATE), HIGHEST_OUTPUT_RATE)
    wanted = round(length * rate / own_rate)
    with TemporaryDirectory(dir=out.parent, prefix=".convert-") as folder:
        scratch = Path(folder)
        heard = _listen(source, scratch / "source.wav", options.f0_method, _part(report, 0.0, 0.15))
        pitch = _pitch_shift(heard, voice, options)
        target = _transpose(heard.f0, pitch)
        rendered = scratch / "rendered.wav"
        render_rate = _render_rate(rate, voice.traits.bandwidth_hz)
        _render(voice, heard, target, options, rendered, render_rate, _part(report, 0.15, 0.85))
        mixed = scratch / "mixed.wav"
        loudest = _mix(source, rendered, mixed, rate, wanted, channels, _part(report, 0.85, 0.93))
        report(0.93, "Writing the result")
        gain = _gain(mixed, rate, options.loudness)
        encoding.write(out, options.format, rate, channels, _finished(mixed, rate, gain, loudest))
        report(0.97, "Measuring the result")
        result = _measure(heard, target, mixed, voice, embed, options)
        result_peaks = _peaks(mixed, gain)
    seconds = time.monotonic() - started
    metrics = result.metrics | {"real_time_factor": seconds / max(length / own_rate, 1e-3)}
    report(1.0, "Done")
    return ConvertResult(
        out, rate, wanted, channels, seconds, pitch, result.curves, _peaks(source, 1.0), result_peaks, metrics
    )


def check(options: ConvertOptions) -> None:
    """Raises EngineError, with a sentence, when an option is outside its range."""
    if options.format not in OUTPUT_FORMATS:
        raise EngineError(f"The format must be one of {', '.join(OUTPUT_FORMATS)}.")
    if options.preset not in PRESETS or options.f0_method not in F0_METHODS:
        raise EngineError("The preset or the pitch method is unknown.")
    if options.pitch != "auto" and not -_HIGHEST_SHIFT <= options.pitch <= _HIGHEST_SHIFT:
        raise EngineError("The pitch must be from -24 to 24 semitones.")
    if not 0.0 <= options.retrieval <= 1.0:
        raise EngineError("The retrieval must be from 0 to 1.")
    if options.sample_rate and not LOWEST_OUTPUT_RATE <= options.sample_rate <= HIGHEST_OUTPUT_RATE:
        raise EngineError("The sample rate must be from 16000 to 48000 Hz.")
    if options.loudness is not None and not -40.0 <= options.loudness <= -8.0:
        raise EngineError("The loudness must be from -40 to -8 LUFS.")


def _part(report: Report, start: float, end: float) -> Report:
    return lambda fraction, stage: report(start + (end - start) * fraction, stage)


def _listen(source: Path, path: Path, f0_method: str, report: Report) -> _Heard:
    """The first pass. Pitch is found in blocks with half a second of context on both sides."""
    import torch

    from ml.spectral import loudness as weighted

    length, own, _ = describe(source)
    with soundfile.SoundFile(path, "w", ANALYSIS_RATE, 1, "FLOAT", format="WAV") as file:
        for block in blocks(source, ANALYSIS_RATE):
            file.write(block)
        written = file.tell()
    frames = 1 + written // ANALYSIS_HOP
    tracks, levels, louds = [], [], []
    size, margin = 3000, 50
    for start in range(0, frames, size):
        report(start / frames, "Listening to the source")
        end = min(start + size, frames)
        first = max(0, start - margin)
        samples = read(path, first * ANALYSIS_HOP, (end + margin) * ANALYSIS_HOP, written)
        inner = slice(start - first, end - first)
        tracks.append(f0.extract(samples, ANALYSIS_RATE, f0_method).f0[inner])
        levels.append(frame_levels(samples, ANALYSIS_RATE)[inner])
        louds.append(weighted(torch.from_numpy(samples)[None])[0].numpy()[inner])
    return _Heard(path, written, np.concatenate(tracks), np.concatenate(levels), np.concatenate(louds))


def read(path: Path, start: int, end: int, length: int) -> Samples:
    """Samples `start` to `end` (cut to 0..`length`) of a mono file."""
    with soundfile.SoundFile(path) as file:
        file.seek(max(0, start))
        return file.read(max(0, min(end, length) - max(0, start)), dtype="float32")


def _pitch_shift(heard: _Heard, voice: Voice, options: ConvertOptions) -> float:
    """Semitones to shift: as asked, or by the medians' ratio; for what seems sung, whole octaves, to stay in key."""
    if options.pitch != "auto":
        return float(options.pitch)
    voiced = heard.f0[heard.f0 > 0]
    if not len(voiced):
        return 0.0
    semitones = 12 * np.log2(voice.traits.f0_median_hz / np.median(voiced))
    if is_sung(heard.f0):
        semitones = 12 * np.round(semitones / 12)
    return float(np.clip(semitones, -_HIGHEST_SHIFT, _HIGHEST_SHIFT))


def is_sung(track: NDArray[np.float32]) -> bool:
    """Whether an f0 track (T,) looks like singing: most voiced frames lie on notes held within 80 cents for 150 ms.

    Speech glides: it holds a pitch that long in well under half of its voiced frames.
    """
    voiced = track > 0
    if voiced.sum() < 50:
        return False
    cents = 1200 * np.log2(np.maximum(track, 1.0) / 55.0)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(cents, 7, mode="edge"), 15)
    inside = np.lib.stride_tricks.sliding_window_view(np.pad(voiced, 7), 15).all(axis=1)
    held = inside & (windows.max(axis=1) - windows.min(axis=1) < 80)
    return bool(held.sum() > 0.5 * voiced.sum())


def _transpose(track: NDArray[np.float32], semitones: float) -> NDArray[np.float32]:
    moved = track * 2.0 ** (semitones / 12)
    return np.where(moved > 0, np.clip(moved, 40.0, 1600.0), 0.0).astype(np.float32)


def _render_rate(rate: int, bandwidth_hz: float) -> int:
    """The lowest synthesis rate that holds all that the result can hold."""
    needed = min(rate, 2.0 * bandwidth_hz)
    return next(candidate for candidate in SYNTHESIS_RATES if candidate >= needed - 1)


def _cuts(level: NDArray[np.float32], frames: int) -> list[int]:
    """Frames where pieces begin and end, from 0 to `frames`: each inner cut at the quietest frame within reach."""
    cuts = [0]
    while frames - cuts[-1] > LONGEST_PIECE:
        low, high = cuts[-1] + SHORTEST_PIECE, cuts[-1] + LONGEST_PIECE
        cuts.append(low + int(np.argmin(level[low:high])))
    return [*cuts, frames]


def _render(
    voice: Voice,
    heard: _Heard,
    target: NDArray[np.float32],
    options: ConvertOptions,
    path: Path,
    rate: int,
    report: Report,
) -> None:
    """The second pass. Neighbouring pieces overlap by `FADE` frames around their cut and are cross-faded there."""
    frames = len(target)
    hop = rate // FRAME_RATE
    total = round(heard.samples * rate / ANALYSIS_RATE)
    voiced = heard.loudness[target > 0]
    gain_db = voice.traits.level_db - float(np.median(voiced)) if len(voiced) else 0.0
    cuts = _cuts(heard.level, frames)
    cycles = _cycles(target)
    half = FADE * hop
    ramp = np.linspace(0, 1, 2 * half, endpoint=False, dtype=np.float32)
    held = np.zeros(0, np.float32)
    with soundfile.SoundFile(path, "w", rate, 1, "FLOAT", format="WAV") as file:
        for index, (start, end) in enumerate(zip(cuts, cuts[1:], strict=False)):
            report(start / frames, "Converting")
            first, last = max(0, start - CONTEXT), min(frames, end + CONTEXT)
            samples = read(heard.path, first * ANALYSIS_HOP, last * ANALYSIS_HOP, heard.samples)
            count = 1 + len(samples) // ANALYSIS_HOP
            piece = Piece(
                samples=samples,
                f0=_pad(target[first : first + count], count),
                phase=float(cycles[first] % 1.0),
                gain_db=gain_db,
                sample_rate=rate,
                retrieval=options.retrieval,
                neighbours=PRESETS[options.preset].load().neighbours,
                seed=options.seed * 1_000_003 + index,
            )
            gate = _gate(_pad(heard.level[first : first + count], count, -120.0), hop)
            sound = voice.render(piece)
            sound = sound * fit(gate, len(sound))
            begin = (start - first) * hop - (half if start else 0)
            stop = (end - first) * hop + half if end < frames else len(sound)
            part = sound[begin:stop].copy()
            if len(held):
                part[: 2 * half] = part[: 2 * half] * ramp + held * (1 - ramp)
            keep = len(part) - (2 * half if end < frames else 0)
            file.write(part[:keep])
            held = part[keep:]
        missing = total - file.tell()
        if missing > 0:
            file.write(np.zeros(missing, np.float32))


def _cycles(track: NDArray[np.float32]) -> NDArray[np.float64]:
    """Glottal cycles passed at each frame, so that a piece starts with the phase its predecessor has there."""
    pitch = track.astype(np.float64)
    first, second = pitch[:-1], pitch[1:]
    step = (np.where(first > 0, first, second) + np.where(second > 0, second, first)) / 2 / FRAME_RATE
    return np.concatenate([[0.0], np.cumsum(step)])


def _pad(values: NDArray[np.float32], count: int, filling: float = 0.0) -> NDArray[np.float32]:
    return np.concatenate([values, np.full(count - len(values), filling, np.float32)])[:count]


def _gate(level: NDArray[np.float32], hop: int) -> Samples:
    """A gain (T * hop,) that is 1 where there is sound and falls to 0 over 12 dB where the source is silent."""
    opened = np.clip((level - (SILENCE_DB - 12.0)) / 12.0, 0.0, 1.0)
    smooth = np.convolve(np.pad(opened, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    times = np.arange(len(level) * hop) / hop
    return np.interp(times, np.arange(len(level)), np.minimum(smooth, opened)).astype(np.float32)


def _mix(source: Path, rendered: Path, path: Path, rate: int, wanted: int, channels: int, report: Report) -> float:
    """The third pass up to encoding; returns the highest peak. A stereo result gets the source's panorama."""
    _, own, _ = describe(rendered)
    resampler = soxr.ResampleStream(own, rate, 1, dtype="float32") if own != rate else None
    pan = _Panorama(source, wanted, rate) if channels == 2 else None
    total, _, _ = describe(rendered)
    loudest, done, read_so_far = 0.0, 0, 0
    with soundfile.SoundFile(path, "w", rate, channels, "FLOAT", format="WAV") as file:
        for block in blocks(rendered):
            report(done / wanted, "Mixing")
            read_so_far += len(block)
            ready = resampler.resample_chunk(block, last=read_so_far >= total) if resampler is not None else block
            ready = ready[: wanted - done]
            frame = pan.spread(ready, done) if pan is not None else ready[:, None]
            file.write(frame)
            done += len(ready)
            loudest = max(loudest, float(np.abs(frame).max(initial=0.0)))
        file.write(np.zeros((wanted - done, channels), np.float32))
    return loudest


class _Panorama:
    """Gains of left and right, from the levels of the source's channels over 100 ms."""

    def __init__(self, source: Path, wanted: int, rate: int) -> None:
        length, own, _ = describe(source)
        step = own // 10
        powers = [
            np.square(block, dtype=np.float64).mean(axis=0)
            for block in soundfile.blocks(source, blocksize=step, dtype="float32", always_2d=True)
        ]
        level = np.sqrt(np.array(powers) + 1e-14)
        # Equal channels give 1 and 1; one silent channel gives 0 and 2, as a mean of channels halves what is on one side.
        self.gains = np.minimum(2.0 * level / level.sum(axis=1, keepdims=True), 2.0)
        self.times = (np.arange(len(powers)) + 0.5) * step * (rate / own)

    def spread(self, samples: Samples, start: int) -> Samples:
        """Mono (n,) that begins at sample `start` of the result -> (n, 2)."""
        where = start + np.arange(len(samples))
        gains = [np.interp(where, self.times, self.gains[:, side]) for side in (0, 1)]
        return (samples[:, None] * np.stack(gains, axis=1)).astype(np.float32)


def _gain(mixed: Path, rate: int, wanted_lufs: float | None) -> float:
    if wanted_lufs is None:
        return 1.0
    present = loudness.integrated(blocks(mixed), rate)
    return 1.0 if present == float("-inf") else float(10 ** ((wanted_lufs - present) / 20))


def _finished(mixed: Path, rate: int, gain: float, loudest: float) -> Iterator[Samples]:
    """The mixed sound in blocks (n, channels) with its final gain, limited when it needs to be."""
    length, _, channels = describe(mixed)
    reach = int(4 * LIMIT_REACH * rate)
    size = 10 * rate
    with soundfile.SoundFile(mixed) as file:
        for start in range(0, length, size):
            before = min(reach, start)
            file.seek(start - before)
            samples = file.read(before + size + reach, dtype="float32", always_2d=True) * np.float32(gain)
            if loudest * gain > 0.97:
                samples = limit(samples, rate)
            yield samples[before : before + size]


def _peaks(path: Path, gain: float, count: int = 400) -> list[float]:
    length, rate, _ = describe(path)
    found: list[float] = []
    for block in blocks(path, seconds=max(length / rate / count, 0.001)):
        found.append(round(min(1.0, float(np.abs(block).max(initial=0.0)) * gain), 3))
    return found[:count]


@dataclass(frozen=True)
class _Measured:
    curves: dict[str, list[float]]
    metrics: dict[str, float]


_MEASURED_SECONDS = 60


def _measure(
    heard: _Heard, target: NDArray[np.float32], mixed: Path, voice: Voice, embed: Embed, options: ConvertOptions
) -> _Measured:
    """Curves of the whole; metrics on the first minute, so that an hour costs no more than that."""
    tracks, start = [], []
    for block in blocks(mixed, ANALYSIS_RATE, seconds=30.0):
        tracks.append(f0.extract(block, ANALYSIS_RATE, options.f0_method).f0[: len(block) // ANALYSIS_HOP])
        if sum(map(len, start)) < _MEASURED_SECONDS * ANALYSIS_RATE:
            start.append(block)
    result = _pad(np.concatenate(tracks) if tracks else np.zeros(0, np.float32), len(target))
    opening = np.concatenate(start) if start else np.zeros(0, np.float32)
    original = read(heard.path, 0, len(opening), heard.samples)
    correlation, cents = contour_agreement(target, result)
    metrics = {"f0_correlation": correlation, "f0_rmse_cents": cents}
    if len(opening) and len(original) and float(np.abs(opening).max()) > 1e-3:
        made, before = embed(opening), embed(original)
        metrics["similarity"] = cosine(made, np.array(voice.traits.embedding, np.float32))
        metrics["source_similarity"] = cosine(made, before)
    stride = max(1, -(-len(target) // _CURVE_POINTS))
    curves = {
        "times": [round(index / FRAME_RATE, 3) for index in range(0, len(target), stride)],
        "source_f0": [round(float(value), 1) for value in heard.f0[::stride]],
        "result_f0": [round(float(value), 1) for value in result[::stride]],
    }
    return _Measured(curves, metrics)
