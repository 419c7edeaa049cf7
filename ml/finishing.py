"""The end of a conversion: output rate and length, the source's panorama, loudness, limiter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from ml import loudness, whole
from ml.audio import LIMIT_REACH, Samples, blocks, describe, limit
from ml.converters.base import Report

CEILING = 0.97
_BLOCK_SECONDS = 10


def mix(source: Path, rendered: Path, path: Path, rate: int, wanted: int, report: Report) -> float:
    """Writes the mono `rendered` to the float WAV `path` at `rate` hertz, exactly `wanted` samples long.

    A stereo `source` gives its panorama. Returns the highest peak.
    """
    _, _, channels = describe(source)
    pan = Panorama(source, rate) if channels == 2 else None
    loudest = 0.0
    with whole.create(path, rate, channels, "FLOAT", "WAV") as file:
        for block in blocks(rendered, rate):
            done = file.tell()
            report(done / wanted, "Mixing")
            ready = block[: wanted - done]
            frame = pan.spread(ready, done) if pan is not None else ready[:, None]
            file.write(frame)
            loudest = max(loudest, float(np.abs(frame).max(initial=0.0)))
        file.write(np.zeros((wanted - file.tell(), channels), np.float32))
    return loudest


class Panorama:
    """Gains of left and right for a result at `rate` hertz, from the levels of the source's channels over 100 ms."""

    def __init__(self, source: Path, rate: int) -> None:
        _, own, _ = describe(source)
        step = own // 10
        powers = [
            np.square(block, dtype=np.float64).mean(axis=0)
            for block in soundfile.blocks(source, blocksize=step, dtype="float32", always_2d=True)
        ]
        level = np.sqrt(np.array(powers) + 1e-14)
        # Equal channels give 1 and 1; one silent channel gives 0 and 2, since the mean halves what is on one side.
        self.gains = 2.0 * level / level.sum(axis=1, keepdims=True)
        self.times = (np.arange(len(powers)) + 0.5) * step * (rate / own)

    def spread(self, samples: Samples, start: int) -> Samples:
        """Mono (n,) that begins at sample `start` of the result -> (n, 2)."""
        where = start + np.arange(len(samples))
        gains = [np.interp(where, self.times, self.gains[:, side]) for side in (0, 1)]
        return np.asarray(samples[:, None] * np.stack(gains, axis=1), np.float32)


def gain(mixed: Path, wanted_lufs: float | None) -> float:
    """The factor that brings a file to `wanted_lufs`; 1 without a wish, and for silence."""
    if wanted_lufs is None:
        return 1.0
    _, rate, _ = describe(mixed)
    present = loudness.integrated(blocks(mixed), rate)
    return 1.0 if present == float("-inf") else float(10 ** ((wanted_lufs - present) / 20))


def finished(mixed: Path, factor: float, loudest: float) -> Iterator[Samples]:
    """A file in blocks (n, channels) times `factor`, limited to `CEILING` if its peak `loudest` makes that needful."""
    length, rate, _ = describe(mixed)
    reach, size = int(4 * LIMIT_REACH * rate), _BLOCK_SECONDS * rate
    with soundfile.SoundFile(mixed) as file:
        for start in range(0, length, size):
            before = min(reach, start)
            file.seek(start - before)
            samples = file.read(before + size + reach, dtype="float32", always_2d=True) * np.float32(factor)
            if loudest * factor > CEILING:
                samples = limit(samples, rate, CEILING)
            yield samples[before : before + size]


def waveform(path: Path, factor: float = 1.0, count: int = 400) -> list[float]:
    """The highest magnitudes, 0..1, of about `count` equal spans of a file times `factor`."""
    length, rate, _ = describe(path)
    spans = blocks(path, seconds=max(length / rate / count, 1 / rate))
    return [round(min(1.0, float(np.abs(span).max(initial=0.0)) * factor), 3) for span in spans][:count]
