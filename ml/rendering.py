"""The middle of a conversion: a source cut at its quietest frames, rendered piece by piece, cross-faded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml import whole
from ml.activity import pauses
from ml.audio import Samples, fit, read_span
from ml.catalog import PRESETS
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, FRAME_RATE, SYNTHESIS_RATES
from ml.converters.base import ConvertOptions, Piece, Report, Voice
from ml.filters import Cascade, high_pass
from ml.levelling import levelled
from ml.parallel import in_order
from ml.said import Track, write
from ml.spectral import LOUDNESS_FLOOR_DB

Array = NDArray[np.float32]

SHORTEST_PIECE, LONGEST_PIECE = 600, 1200  # frames: pieces of 6 to 12 s, cut where it is quietest
CONTEXT = 80  # frames on each side: more than the receptive field of the decoder, and what retrieval looks at
BLOCK = 100  # frames
MEANT = 6000  # frames, at most, that say what the source's content is like on the whole
LOUD_DB = 40.0  # frames within this of a voice's level are speech
SHORTEST_SPAN = 20  # frames
SAID = 0.3  # of the time goes to hearing what is said
FADE = 2  # frames of cross-fade on each side of a cut
SILENCE_DB = -62.0
HIGHEST_CUT_HZ, LOWEST_CUT_HZ = 70.0, 30.0
_BELOW_THE_VOICE = 0.75


@dataclass(frozen=True)
class Heard:
    """A source at ANALYSIS_RATE in a mono file of `samples` samples; f0, level and A-weighted loudness per frame."""

    path: Path
    samples: int
    f0: Array
    level: Array
    loudness: Array


def render_rate(rate: int, bandwidth_hz: float) -> int:
    """The lowest synthesis rate that holds all that a result at `rate` hertz can hold."""
    needed = min(rate, 2.0 * bandwidth_hz)
    return next(candidate for candidate in SYNTHESIS_RATES if candidate >= needed - 1)


def render(
    voice: Voice,
    heard: Heard,
    target: Array,
    options: ConvertOptions,
    path: Path,
    rate: int,
    report: Report,
    threads: int,
) -> None:
    """Writes `heard` in `voice` with the f0 track `target` (T,) to the mono float WAV `path`, at `rate` hertz.

    It has round(samples * rate / ANALYSIS_RATE) samples. Neighbouring pieces overlap by 2 * `FADE` frames around
    their cut. As many pieces as there are `threads` are rendered at once; how many changes nothing in the sound.
    """
    total = round(heard.samples * rate / ANALYSIS_RATE)
    frames = 1 + heard.samples // ANALYSIS_HOP

    def hearing(part: float) -> None:
        report(SAID * part, "Listening to what is said")

    said = write(path.with_suffix(".said"), heard.path, frames, voice.said, hearing, threads)
    pieces = _pieces(voice, heard, said, target, options, rate, lambda f, s: report(SAID + (1 - SAID) * f, s), threads)
    parts = _faded(pieces, FADE * rate // FRAME_RATE)
    if options.high_pass:
        parts = _without_rumble(parts, target, rate)
    with whole.create(path, rate, 1, "FLOAT", "WAV") as file:
        for part in parts:
            file.write(part[: total - file.tell()])
        file.write(np.zeros(total - file.tell(), np.float32))


def _pieces(
    voice: Voice,
    heard: Heard,
    said: Track,
    target: Array,
    options: ConvertOptions,
    rate: int,
    report: Report,
    threads: int,
) -> Iterator[Samples]:
    """Rendered pieces, each with half a fade before its first and after its last frame where it has a neighbour."""
    frames, hop = len(target), rate // FRAME_RATE
    half = FADE * hop
    quiet = pauses(heard.f0, heard.level)
    cuts, phases = _cuts(heard.level, frames), _phases(target, hop)
    voiced = heard.loudness[target > 0]
    gain = voice.traits.level_db - float(np.median(voiced)) if len(voiced) else 0.0

    spans = list(zip(cuts, cuts[1:], strict=False))
    mean = _mean(voice, said, heard.loudness + gain)

    def rendered(span: tuple[int, int]) -> Samples:
        start, end = span
        first, last = max(0, start - CONTEXT), min(frames, end + CONTEXT)
        piece = _piece(heard, target, options, rate, (first, last), gain, float(phases[first] % 1.0))
        piece = replace(piece, said=said.rows(first, first + len(piece.f0)), mean=mean)
        count = len(piece.f0)
        calm = quiet[first : first + count]
        sound = levelled(voice.render(piece), rate, piece.loudness, _share(options, piece.f0, calm))
        sound = sound * fit(gate(_pad(heard.level[first : first + count], count, -120.0), hop), len(sound))
        begin = (start - first) * hop - (half if start else 0)
        return sound[begin : (end - first) * hop + half if end < frames else len(sound)]

    report(0.0, "Converting")
    with closing(in_order(rendered, spans, threads)) as sounds:
        for (_, end), sound in zip(spans, sounds, strict=True):
            report(end / frames, "Converting")
            yield sound


def _mean(voice: Voice, said: Track, loudness: Array) -> Array:
    """The mean of what is said in loud frames, as the voice has it, of up to MEANT frames from all over the source.

    `loudness` (T,) is the source's, moved to the voice's level. Without a loud frame it is the mean of all.
    """
    step = BLOCK * max(1, round(said.frames / MEANT))
    starts = range(0, said.frames, step)
    rows = np.concatenate([said.rows(start, min(start + BLOCK, said.frames)) for start in starts])
    level = np.concatenate([_pad(loudness[start : start + BLOCK], min(BLOCK, said.frames - start)) for start in starts])
    loud = level > voice.traits.level_db - LOUD_DB
    return voice.mean(rows[loud] if loud.any() else rows)


def _piece(
    heard: Heard,
    target: Array,
    options: ConvertOptions,
    rate: int,
    span: tuple[int, int],
    gain: float,
    phase: float,
) -> Piece:
    first, last = span
    samples = read_span(heard.path, first * ANALYSIS_HOP, last * ANALYSIS_HOP)
    # Whole frames, and never fewer than a synthesis window wants; what is too much is cut off when it is written.
    count = max(SHORTEST_SPAN, -(-len(samples) // ANALYSIS_HOP)) + 1
    samples = fit(samples, (count - 1) * ANALYSIS_HOP)
    return Piece(
        samples=samples,
        f0=_pad(target[first : first + count], count),
        loudness=_pad(heard.loudness[first : first + count], count, LOUDNESS_FLOOR_DB) + gain,
        phase=phase,
        gain_db=gain,
        sample_rate=rate,
        retrieval=options.retrieval,
        neighbours=PRESETS[options.preset].load().neighbours,
        seed=options.seed,
        start=first,
        formant=options.formant,
        protection=options.protection,
    )


def _share(options: ConvertOptions, f0: Array, quiet: NDArray[np.bool_]) -> Array:
    """How far each frame (T,) goes to the source's level. Pauses do not: what noise was taken out would come back."""
    share: Array = np.maximum(options.envelope, options.protection * (f0 <= 0)).astype(np.float32)
    share[: len(quiet)][quiet] = 0.0
    return share


def _faded(pieces: Iterator[Samples], half: int) -> Iterator[Samples]:
    """Joins pieces that overlap by 2 * `half` samples with a linear cross-fade."""
    ramp = np.linspace(0, 1, 2 * half, endpoint=False, dtype=np.float32)
    held: Samples | None = None
    for piece in pieces:
        if held is not None:
            yield held[: len(held) - 2 * half]
            tail = held[len(held) - 2 * half :]
            piece = np.concatenate([piece[: 2 * half] * ramp + tail * (1 - ramp), piece[2 * half :]])
        held = piece
    if held is not None:
        yield held


def _without_rumble(parts: Iterator[Samples], target: Array, rate: int) -> Iterator[Samples]:
    """High-passes consecutive parts of one sound below the lowest pitch of `target`: nothing there is the voice's."""
    voiced = target[target > 0]
    lowest = float(np.percentile(voiced, 1)) if len(voiced) else 0.0
    rumble = rumble_filter(lowest, rate)
    for part in parts:
        yield rumble(part).astype(np.float32)


def rumble_filter(lowest_hz: float, rate: int) -> Cascade:
    """The high-pass for a voice whose pitch is `lowest_hz` at least, at `rate` hertz."""
    return Cascade(high_pass(min(HIGHEST_CUT_HZ, max(LOWEST_CUT_HZ, _BELOW_THE_VOICE * lowest_hz)), rate))


def _cuts(level: Array, frames: int) -> list[int]:
    """Frames where pieces begin and end, from 0 to `frames`: each inner cut at the quietest frame within reach."""
    cuts = [0]
    while frames - cuts[-1] > LONGEST_PIECE:
        low, high = cuts[-1] + SHORTEST_PIECE, cuts[-1] + LONGEST_PIECE
        cuts.append(low + int(np.argmin(level[low:high])))
    return [*cuts, frames]


def _phases(track: Array, hop: int) -> NDArray[np.float64]:
    """Glottal cycles passed at each frame of an f0 track (T,): so that a piece starts with the phase that its
    predecessor has there. Pitch goes on from frame to frame, `hop` samples apart, as in `pulses`."""
    pitch = track.astype(np.float64)
    first, second = pitch[:-1], pitch[1:]
    first, second = np.where(first > 0, first, second), np.where(second > 0, second, first)
    step = first + (second - first) * (hop - 1) / (2 * hop)
    return np.concatenate([[0.0], np.cumsum(step) / FRAME_RATE])


def _pad(values: Array, count: int, filling: float = 0.0) -> Array:
    return np.concatenate([values, np.full(max(0, count - len(values)), filling, np.float32)])[:count]


def gate(level: Array, hop: int, part: slice = slice(None)) -> Samples:
    """A gain (T * hop,) that is 1 where there is sound and falls to 0 over 12 dB where the source is silent.

    Only `part` of it, if not all is wanted.
    """
    opened = np.clip((level - (SILENCE_DB - 12.0)) / 12.0, 0.0, 1.0)
    smooth = np.convolve(np.pad(opened, 2, mode="edge"), np.full(5, 0.2), mode="valid")
    times = np.arange(*part.indices(len(level) * hop)) / hop
    return np.asarray(np.interp(times, np.arange(len(level)), np.minimum(smooth, opened)), np.float32)
