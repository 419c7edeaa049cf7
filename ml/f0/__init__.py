"""Pitch at 100 frames per second: one module per method, all with the same signature.

A method takes mono float32 samples at 16 kHz, (N,), neither empty nor silent throughout, and the bounds of the pitch
in Hz, and returns an `F0Track` of 1 + N // 160 frames. `extract` brings any sound to that and applies the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from ml.catalog import F0_METHODS
from ml.errors import EngineError

FRAMES_PER_SECOND = 100
RATE = 16_000
HOP = RATE // FRAMES_PER_SECOND
LOWEST_HZ, HIGHEST_HZ = 50.0, 1900.0
"""What all methods can hear: SwiftF0 begins at 47 Hz, FCPE ends at 1975 Hz."""
HIGHEST_SUNG_HZ = 1100.0
"""As high as is looked for where nobody says otherwise: above are whistles, and harmonics taken for voices."""


@dataclass(frozen=True)
class F0Track:
    """Pitch of one signal. `f0`: (T,) in Hz, 0 where unvoiced; `confidence`: (T,) in 0..1."""

    f0: NDArray[np.float32]
    confidence: NDArray[np.float32]


def extract(
    samples: NDArray[np.float32],
    sample_rate: int,
    method: str = "swift",
    minimum_hz: float = LOWEST_HZ,
    maximum_hz: float = HIGHEST_SUNG_HZ,
) -> F0Track:
    """Pitch of mono `samples`; frame t is centred at t * 10 ms, T = 1 + samples // (sample_rate / 100).

    `method` is a key of `ml.catalog.F0_METHODS`; raises KeyError for any other. A frame whose pitch lies outside
    `minimum_hz`..`maximum_hz` is unvoiced. Raises EngineError for bounds outside 50..1900 Hz or less than a tone apart.
    """
    if not (minimum_hz >= LOWEST_HZ and minimum_hz * 1.12 <= maximum_hz <= HIGHEST_HZ):
        raise EngineError("The pitch range must lie between 50 and 1900 Hz and be at least a tone wide.")
    find = F0_METHODS[method].load()
    frames = 1 + len(samples) * FRAMES_PER_SECOND // sample_rate
    if not np.any(samples):
        return F0Track(np.zeros(frames, np.float32), np.zeros(frames, np.float32))
    if sample_rate != RATE:
        samples = soxr.resample(samples, sample_rate, RATE)
    # Resampling rounds the length, which may be a frame more or less.
    length = min(max(len(samples), (frames - 1) * HOP, 1), frames * HOP - 1)
    samples = samples[:length] if len(samples) >= length else np.pad(samples, (0, length - len(samples)))
    return _bounded(find(samples, minimum_hz, maximum_hz), minimum_hz, maximum_hz)


def extract_all(sounds: Sequence[NDArray[np.float32]]) -> list[F0Track]:
    """What `extract` finds in each of some short `sounds` (N,) of one length at 16 kHz, by the default method, to the
    bit, in less time."""
    from ml.f0.swift import swift_of_all

    frames = 1 + len(sounds[0]) // HOP
    nothing = F0Track(np.zeros(frames, np.float32), np.zeros(frames, np.float32))
    length = min(max(len(sounds[0]), 1), frames * HOP - 1)
    some = [np.any(samples) for samples in sounds]
    heard = [samples[:length] for samples, sounding in zip(sounds, some, strict=True) if sounding]
    found = iter(swift_of_all(heard, LOWEST_HZ, HIGHEST_SUNG_HZ) if heard else [])
    return [_bounded(next(found), LOWEST_HZ, HIGHEST_SUNG_HZ) if sounding else nothing for sounding in some]


def _bounded(track: F0Track, minimum_hz: float, maximum_hz: float) -> F0Track:
    inside = (track.f0 >= minimum_hz) & (track.f0 <= maximum_hz)
    return F0Track(np.where(inside, track.f0, 0).astype(np.float32), track.confidence.astype(np.float32))


def bundled(package: str, file: str) -> Path:
    """The path of a file of an installed package, whose code is not imported. Raises EngineError without it."""
    spec = find_spec(package)
    places = [Path(folder) / file for folder in (spec.submodule_search_locations or [] if spec else [])]
    for place in places:
        if place.is_file():
            return place
    raise EngineError(
        f"This pitch method needs {Path(file).name} of the package {package}: install requirements.txt, "
        "or choose another pitch method."
    )
