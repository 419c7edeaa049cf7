"""The takes of one voice as arrays, and the traits of the voice that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml import f0
from ml.audio import Samples, load, resample
from ml.config import ANALYSIS_RATE
from ml.converters.base import Report, VoiceTraits
from ml.device import on_device, to_array
from ml.errors import AudioError
from ml.parallel import in_order
from ml.spectral import loudness

SHORTEST_VOICE_SECONDS = 3.0
LEAST_VOICED_FRAMES = 50
_BANDWIDTH_DEPTH_DB = 75.0


@dataclass(frozen=True)
class TakeSet:
    """Takes side by side: per take the samples at ANALYSIS_RATE, f0 (T,) in Hz, A-weighted loudness (T,) in dB, and
    the highest frequency in its file in Hz."""

    paths: list[Path]
    samples: list[Samples]
    f0: list[NDArray[np.float32]]
    loudness: list[NDArray[np.float32]]
    bandwidth_hz: list[float]

    @property
    def seconds(self) -> float:
        """The length of all takes together."""
        return sum(map(len, self.samples)) / ANALYSIS_RATE


def load_takes(
    paths: Sequence[Path], f0_method: str, clean: Callable[[Samples], Samples], report: Report, threads: int = 1
) -> TakeSet:
    """Reads takes (WAV or FLAC) and finds their pitch, loudness and bandwidth; `report` runs from 0 to 1.

    `clean` takes noise out of samples at ANALYSIS_RATE; pitch and loudness are found in what it leaves. As many takes
    are heard at once as there are `threads`.
    Raises AudioError when there is less than `SHORTEST_VOICE_SECONDS` of sound, or under half a second of it is voiced.
    """
    found = TakeSet(list(paths), [], [], [], [])

    def heard(path: Path) -> tuple[Samples, NDArray[np.float32], NDArray[np.float32], float]:
        own, rate = load(path)
        samples = resample(own, rate, ANALYSIS_RATE)
        voice = clean(samples)
        track, level = f0.extract(voice, ANALYSIS_RATE, f0_method).f0, to_array(loudness(on_device(voice)[None])[0])
        return samples, track, level, bandwidth(own, rate)

    report(0.0, "Listening to the takes")
    with closing(in_order(heard, paths, threads)) as takes:
        for samples, track, level, highest in takes:
            found.samples.append(samples)
            found.f0.append(track)
            found.loudness.append(level)
            found.bandwidth_hz.append(highest)
            report(len(found.samples) / len(paths), "Listening to the takes")
    if found.seconds < SHORTEST_VOICE_SECONDS:
        raise AudioError(
            f"The takes last {found.seconds:.1f} s in all; "
            f"a voice needs at least {SHORTEST_VOICE_SECONDS:.0f} s of speech."
        )
    if sum(int((track > 0).sum()) for track in found.f0) < LEAST_VOICED_FRAMES:
        raise AudioError("No voice can be heard in the takes; record speech or singing closer to the microphone.")
    return found


def bandwidth(samples: Samples, sample_rate: int) -> float:
    """The highest frequency in Hz that a recording holds: where its mean spectrum is last within 75 dB of its peak.

    Finds what resampling or a codec cut off: below a cut there is at least a microphone's noise, above it next to
    nothing. The answer is a multiple of 100 Hz, at least 1000 and at most half the rate.
    """
    size = max(2, sample_rate // 50)
    count = len(samples) // size
    if not count:
        return sample_rate / 2
    frames = samples[: count * size].reshape(count, size)
    loud = frames[np.square(frames).sum(1) >= np.median(np.square(frames).sum(1))]
    power = np.square(np.abs(np.fft.rfft(loud * np.hanning(size), axis=1))).mean(0)
    pairs = power[: len(power) // 2 * 2].reshape(-1, 2).mean(1)
    level = 10 * np.log10(pairs + 1e-20)
    last = int(np.flatnonzero(level > level.max() - _BANDWIDTH_DEPTH_DB).max())
    return float(min(max(1000.0, (last + 1) * 100.0), sample_rate / 2))


def traits_of(takes: TakeSet, embed: Callable[[Samples], NDArray[np.float32]]) -> VoiceTraits:
    """What the takes say of their voice; the embedding is that of all takes in a row."""
    pitch = np.concatenate([track[track > 0] for track in takes.f0])
    level = np.concatenate([values[track > 0] for values, track in zip(takes.loudness, takes.f0, strict=True)])
    low, middle, high = np.percentile(pitch, (5, 50, 95))
    lengths = np.array([len(samples) for samples in takes.samples], float)
    order = np.argsort(takes.bandwidth_hz)
    half = np.searchsorted(np.cumsum(lengths[order]), lengths.sum() / 2)
    return VoiceTraits(
        f0_median_hz=float(middle),
        f0_low_hz=float(low),
        f0_high_hz=float(high),
        level_db=float(np.median(level)),
        bandwidth_hz=float(np.array(takes.bandwidth_hz)[order][half]),
        seconds=takes.seconds,
        embedding=[round(float(value), 6) for value in embed(np.concatenate(takes.samples))],
    )
