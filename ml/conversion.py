"""One conversion of any length in constant memory: listen, render piece by piece, mix and write.

Three passes over the sound, each in blocks. The first brings the source to the analysis rate in a temporary file and
finds pitch and level. The second cuts it at the quietest frames, renders each piece with context on both sides, and
cross-fades. The third brings the result to the output rate and length, gives it the source's panorama, its loudness
and a limiter, and encodes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from ml import encoding, f0, finishing, memory
from ml.audio import BLOCK_SECONDS, Samples, blocks, describe, fit, read_span
from ml.catalog import F0_METHODS, PRESETS, SCALES
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE
from ml.converters.base import (
    HIGHEST_BIT_RATE,
    HIGHEST_OUTPUT_RATE,
    LOWEST_BIT_RATE,
    LOWEST_OUTPUT_RATE,
    OUTPUT_FORMATS,
    ConvertOptions,
    ConvertResult,
    Report,
    Voice,
)
from ml.errors import EngineError
from ml.listening import Clean, listen
from ml.metrics import contour_agreement, cosine
from ml.parallel import alone, in_order
from ml.pitch_editing import smooth, transpose, tune
from ml.rendering import Heard, render, render_rate

_CURVE_POINTS = 2000
_HIGHEST_SHIFT = 24.0
_RANGES = {
    "retrieval": ("The retrieval", 0.0, 1.0, ""),
    "denoise": ("The noise reduction", 0.0, 1.0, ""),
    "formant": ("The formant shift", -12.0, 12.0, " semitones"),
    "protection": ("The protection of consonants", 0.0, 1.0, ""),
    "envelope": ("The share of the source's loudness contour", 0.0, 1.0, ""),
    "pitch_smoothing": ("The pitch smoothing", 0.0, 100.0, " ms"),
    "autotune": ("The strength of the autotune", 0.0, 1.0, ""),
    "retune": ("The retune time", 0.0, 400.0, " ms"),
}

Array = NDArray[np.float32]
Embed = Callable[[Samples], Array]


def convert(
    voice: Voice, source: Path, out: Path, *, options: ConvertOptions, clean: Clean, embed: Embed, report: Report
) -> ConvertResult:
    """Converts `source` (WAV or FLAC, mono or stereo) into `voice`; see `ml.engine.Engine.convert`."""
    started = time.monotonic()
    check(options)
    length, own_rate, channels = describe(source)
    rate = options.sample_rate or min(max(own_rate, LOWEST_OUTPUT_RATE), HIGHEST_OUTPUT_RATE)
    wanted = round(length * rate / own_rate)
    with TemporaryDirectory(dir=out.parent, prefix=".convert-") as folder:
        scratch = Path(folder)
        rendered, mixed = scratch / "rendered.wav", scratch / "mixed.wav"
        own = render_rate(rate, voice.traits.bandwidth_hz)
        with alone() as threads:
            hearing, rendering = _part(report, 0.0, 0.15), _part(report, 0.15, 0.85)
            heard = listen(source, scratch / "source.wav", options.f0_method, options.denoise, clean, hearing, threads)
            memory.trim()  # of a long source: what hearing it left would lie beside what rendering takes
            pitch = _pitch_shift(heard, voice, options)
            target = _edited(heard.f0, pitch, options)
            render(voice, heard, target, options, rendered, own, rendering, threads)
            memory.trim()
        loudest = finishing.mix(source, rendered, mixed, rate, wanted, _part(report, 0.85, 0.93))
        report(0.93, "Writing the result")
        gain = finishing.gain(mixed, options.loudness)
        sound = finishing.finished(mixed, gain, loudest)
        encoding.write(out, options.format, rate, channels, sound, options.tags, options.bit_rate)
        report(0.97, "Measuring the result")
        with alone() as threads:
            result = _measure(heard, target, mixed, voice, embed, options, threads)
        result_peaks = finishing.waveform(mixed, gain)
    seconds = time.monotonic() - started
    metrics = result.metrics | {"real_time_factor": seconds / max(length / own_rate, 1e-3)}
    report(1.0, "Done")
    source_peaks = finishing.waveform(source)
    return ConvertResult(
        out, rate, wanted, channels, seconds, pitch, result.curves, source_peaks, result_peaks, metrics
    )


def check(options: ConvertOptions) -> None:
    """Raises EngineError, with a sentence, when an option is outside its range."""
    if options.format not in OUTPUT_FORMATS:
        raise EngineError(f"The format must be one of {', '.join(OUTPUT_FORMATS)}.")
    if options.preset not in PRESETS or options.f0_method not in F0_METHODS:
        raise EngineError("The preset or the pitch method is unknown.")
    if options.pitch != "auto" and not -_HIGHEST_SHIFT <= options.pitch <= _HIGHEST_SHIFT:
        raise EngineError("The pitch must be from -24 to 24 semitones.")
    for name, (words, low, high, unit) in _RANGES.items():
        if not low <= getattr(options, name) <= high:
            raise EngineError(f"{words} must be from {low:g} to {high:g}{unit}.")
    if options.scale not in SCALES:
        raise EngineError("The scale must be “chromatic” or a key such as “C major” or “F# minor”.")
    if options.sample_rate and not LOWEST_OUTPUT_RATE <= options.sample_rate <= HIGHEST_OUTPUT_RATE:
        raise EngineError("The sample rate must be from 16000 to 48000 Hz.")
    if options.bit_rate and not LOWEST_BIT_RATE <= options.bit_rate <= HIGHEST_BIT_RATE:
        raise EngineError("The bit rate must be from 32000 to 192000 bit/s.")
    if options.loudness is not None and not -40.0 <= options.loudness <= -8.0:
        raise EngineError("The loudness must be from -40 to -8 LUFS.")


def _part(report: Report, start: float, end: float) -> Report:
    return lambda fraction, stage: report(start + (end - start) * fraction, stage)


def _pitch_shift(heard: Heard, voice: Voice, options: ConvertOptions) -> float:
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


def is_sung(track: Array) -> bool:
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


def _edited(track: Array, semitones: float, options: ConvertOptions) -> Array:
    moved = smooth(transpose(track, semitones), options.pitch_smoothing)
    return tune(moved, options.scale, options.autotune, options.retune)


@dataclass(frozen=True)
class _Measured:
    curves: dict[str, list[float | None]]
    metrics: dict[str, float]


_LIKENESS_SECONDS = 30


def _measure(
    heard: Heard, target: Array, mixed: Path, voice: Voice, embed: Embed, options: ConvertOptions, threads: int
) -> _Measured:
    """Curves and metrics: pitch of as much as the preset says from the beginning, likeness of the first half minute."""
    seconds = PRESETS[options.preset].load().measured_seconds
    listened, start = _heard_again(mixed, seconds, options.f0_method, threads)
    result = fit(listened, min(len(target), int(seconds * FRAME_RATE)))
    original = read_span(heard.path, 0, len(start))
    correlation, cents = contour_agreement(target[: len(result)], result)
    metrics = {"f0_correlation": correlation, "f0_rmse_cents": cents}
    if len(start) and len(original) and float(np.abs(start).max()) > 1e-3:
        with closing(in_order(embed, (start, original), threads)) as vectors:
            made, before = vectors
        metrics["similarity"] = cosine(made, np.array(voice.traits.embedding, np.float32))
        metrics["source_similarity"] = cosine(made, before)
    stride = max(1, -(-len(target) // _CURVE_POINTS))
    times = range(0, len(target), stride)
    curves: dict[str, list[float | None]] = {
        "times": [round(index / FRAME_RATE, 3) for index in times],
        "source_f0": [round(float(heard.f0[index]), 1) for index in times],
        "result_f0": [round(float(result[index]), 1) if index < len(result) else None for index in times],
    }
    return _Measured(curves, metrics)


def _heard_again(mixed: Path, seconds: float, f0_method: str, threads: int) -> tuple[Array, Samples]:
    """The f0 track of the first `seconds` of a result, and the sound of its first half minute, at ANALYSIS_RATE."""
    opening: list[Samples] = []

    def wanted() -> Iterator[Samples]:
        for index, block in enumerate(blocks(mixed, ANALYSIS_RATE)):
            if index * BLOCK_SECONDS >= seconds:
                return
            if index * BLOCK_SECONDS < _LIKENESS_SECONDS:
                opening.append(block)
            yield block

    def track(block: Samples) -> Array:
        return f0.extract(block, ANALYSIS_RATE, f0_method).f0[: len(block) // ANALYSIS_HOP]

    nothing = [np.zeros(0, np.float32)]
    with closing(in_order(track, wanted(), threads)) as tracks:
        result = np.concatenate([*nothing, *tracks])
    return result, np.concatenate([*nothing, *opening])
