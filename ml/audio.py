"""Sound in files and arrays: reading in blocks, resampling, waveform peaks, limiting, writing whole files.

Everything here reads files that `ml.decode` (or the engine itself) wrote; untrusted files never come this far.
Samples are float32 in -1..1, mono arrays (n,) unless said otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from ml import whole
from ml.errors import AudioError

Samples = NDArray[np.float32]

FRAMES_PER_SECOND = 100
BLOCK_SECONDS = 10.0


@contextmanager
def atomic(out: Path) -> Iterator[Path]:
    """A temporary path beside `out`, with its suffix; fsynced and renamed to `out` when the body succeeds."""
    part = out.with_name(f".{out.stem}.{os.getpid()}.part{out.suffix}")
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def describe(path: Path) -> tuple[int, int, int]:
    """Samples per channel, rate in hertz and channels of a WAV or FLAC file. Raises AudioError if it is neither."""
    try:
        found = soundfile.info(path)
    except soundfile.LibsndfileError:
        raise AudioError("This is no WAV or FLAC file that can be read; decode it first.") from None
    return int(found.frames), int(found.samplerate), int(found.channels)


def blocks(path: Path, sample_rate: int | None = None, seconds: float = BLOCK_SECONDS) -> Iterator[Samples]:
    """Yields the mean of a file's channels as successive blocks of about `seconds`, at `sample_rate` (or its own)."""
    frames, own, _ = describe(path)
    wanted = sample_rate or own
    resampler = soxr.ResampleStream(own, wanted, 1, dtype="float32") if wanted != own else None
    size = max(1, int(seconds * own))
    done = 0
    for block in soundfile.blocks(path, blocksize=size, dtype="float32", always_2d=True):
        mono = np.ascontiguousarray(block.mean(axis=1, dtype=np.float32))
        done += len(mono)
        yield resampler.resample_chunk(mono, last=done >= frames) if resampler is not None else mono


def load(path: Path, sample_rate: int | None = None) -> tuple[Samples, int]:
    """The whole file as mono (n,) and its rate. For takes, not for recordings of an hour."""
    _, own, _ = describe(path)
    parts = list(blocks(path, sample_rate))
    return (np.concatenate(parts) if parts else np.zeros(0, np.float32)), sample_rate or own


def read_span(path: Path, start: int, end: int) -> Samples:
    """Samples `start` to `end` of a mono file, both cut to what there is."""
    with soundfile.SoundFile(path) as file:
        file.seek(min(max(0, start), file.frames))
        return np.asarray(file.read(max(0, end - file.tell()), dtype="float32"))


def save(path: Path, samples: Samples, sample_rate: int, subtype: str = "PCM_24") -> None:
    """Writes mono `samples` atomically as WAV or FLAC, by the suffix of `path`."""
    container = "FLAC" if path.suffix == ".flac" else "WAV"
    with atomic(path) as part, whole.create(part, sample_rate, 1, subtype, container) as file:
        file.write(samples)


def resample(samples: Samples, rate: int, wanted: int) -> Samples:
    """`samples` (n,) from `rate` to `wanted` hertz; exactly round(n * wanted / rate) long."""
    if rate == wanted:
        return samples
    return fit(np.asarray(soxr.resample(samples, rate, wanted), np.float32), round(len(samples) * wanted / rate))


def fit(samples: Samples, length: int) -> Samples:
    """Cuts `samples` or adds zeros at its end, so that it is `length` long along the first axis."""
    if len(samples) >= length:
        return samples[:length]
    return np.concatenate([samples, np.zeros((length - len(samples), *samples.shape[1:]), np.float32)])


def peaks(samples: Samples, count: int = 200) -> list[float]:
    """The largest magnitude in each of `count` equal spans, 0..1, three decimals: a waveform to draw."""
    if not len(samples):
        return []
    edges = np.linspace(0, len(samples), count + 1).astype(int)[:-1]
    found = np.maximum.reduceat(np.abs(samples), np.minimum(edges, len(samples) - 1))
    return [round(float(value), 3) for value in found]


def frame_levels(samples: Samples, sample_rate: int) -> NDArray[np.float32]:
    """Level in dB (full-scale square wave = 0) around every 10 ms: (T,), T = 1 + n // hop, 40 ms windows."""
    hop, half = sample_rate // FRAMES_PER_SECOND, sample_rate // 50
    power = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    centres = np.arange(1 + len(samples) // hop) * hop
    low, high = np.maximum(centres - half, 0), np.minimum(centres + half, len(samples))
    mean = (power[high] - power[low]) / np.maximum(high - low, 1)
    return np.asarray(10 * np.log10(np.maximum(mean, 1e-12)), np.float32)


LIMIT_REACH = 0.005


def limit(samples: Samples, sample_rate: int, ceiling: float = 0.97) -> Samples:
    """`samples` (n, channels) with their peaks held under `ceiling`, all channels by one gain.

    The gain that a peak needs is spread over 5 ms before and after it (`LIMIT_REACH`), so it moves smoothly;
    whoever works in blocks gives that much context on both sides and cuts it off again.
    """
    magnitude = np.abs(samples).max(axis=1)
    if float(magnitude.max(initial=0.0)) <= ceiling:
        return samples
    half = max(1, int(sample_rate * LIMIT_REACH / 2))
    held = maximum_filter1d(magnitude, 2 * half + 1, mode="nearest")
    # The mean over half the reach of gains that are all low enough for this sample is low enough itself.
    gain = uniform_filter1d(ceiling / np.maximum(held, ceiling), 2 * (half // 2) + 1, mode="nearest")
    return np.asarray(samples * gain[:, None], np.float32)
