"""Sung notes whose pitch is known at every frame, and how far a track is from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RATE = 16_000
_HOP = RATE // 100
_UNJUDGED = -1.0


@dataclass(frozen=True)
class Truth:
    """`samples` (N,) at 16 kHz; `f0` (1 + N // 160,) in Hz, 0 in silence, -1 within 40 ms of a note's ends."""

    samples: npt.NDArray[np.float32]
    f0: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """Shares (0..1) of voiced frames that are missed, over 50 cents off (gross), an octave or more off (octave).

    And the share of silent frames that are called voiced (false), and the root mean square of what is not gross, cents.
    """

    missed: float
    gross: float
    octave: float
    false: float
    cents: float


def notes(
    lowest: float = 80.0, highest: float = 800.0, *, count: int = 8, noise_db: float | None = None, seed: int = 0
) -> Truth:
    """Notes of 0.5 s that glide by up to a fourth, with vibrato of up to 60 cents, and pauses of 0.25 s.

    Harmonics fall by 6 dB an octave under two formants. `noise_db` is the level of white noise under the notes' own.
    """
    rng = np.random.default_rng(seed)
    pause, sounds, hertz = np.zeros(RATE // 4), [], []
    for start in np.geomspace(lowest, highest, count):
        seconds = np.arange(RATE // 2) / RATE
        glide = rng.uniform(-500, 500) * seconds / 0.5
        vibrato = rng.uniform(0, 60) * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * seconds)
        pitch = np.clip(start * np.exp2((glide + vibrato) / 1200), 60.0, 1050.0)
        sounds += [pause, _note(pitch, rng)]
        hertz += [pause, pitch]
    sound, pitch = np.concatenate([*sounds, pause]), np.concatenate([*hertz, pause])
    if noise_db is not None:
        level = np.sqrt(np.mean(np.square(sound[pitch > 0]))) * 10 ** (-noise_db / 20)
        sound = sound + level * rng.standard_normal(len(sound))
    centres = np.minimum(np.arange(1 + len(sound) // _HOP) * _HOP, len(sound) - 1)
    near = np.clip(centres[:, None] + np.array([-640, 640]), 0, len(sound) - 1)
    clear = ((pitch[near] > 0) == (pitch[centres] > 0)[:, None]).all(axis=1)
    return Truth(sound.astype(np.float32), np.where(clear, pitch[centres], _UNJUDGED).astype(np.float32))


def _note(pitch: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    phase = 2 * np.pi * np.cumsum(pitch / RATE)
    formants = rng.uniform(300, 900), rng.uniform(1000, 2400)
    sound = np.zeros(len(pitch))
    for harmonic in range(1, 100):
        at = harmonic * pitch
        gain = sum(1 / (1 + np.square((at - formant) / 150)) for formant in formants) + 0.05
        sound += np.where(at < 7600, gain * np.sin(harmonic * phase) / harmonic, 0)
    ramp = np.minimum(1.0, np.minimum(np.arange(len(sound)), np.arange(len(sound))[::-1]) / 320)
    return np.asarray(0.2 * ramp * sound / np.abs(sound).max(), np.float64)


def score(truth: Truth, found: npt.NDArray[np.float32]) -> Score:
    """Compares a track (T,) with the truth of the same length."""
    voiced, silent = truth.f0 > 0, truth.f0 == 0
    both = voiced & (found > 0)
    cents = 1200 * np.abs(np.log2(found[both] / truth.f0[both]))
    near = cents <= 50
    return Score(
        missed=float((found[voiced] == 0).mean()),
        gross=float((~near).sum() / voiced.sum()),
        octave=float((cents > 1100).sum() / voiced.sum()),
        false=float((found[silent] > 0).mean()),
        cents=float(np.sqrt(np.mean(np.square(cents[near])))),
    )
