"""Sounds made from numbers, the same at each call, as numpy arrays (samples,) of float32 or as WAV bytes."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from scipy.signal import lfilter

Samples = npt.NDArray[np.float32]


def tone(seconds: float = 1.0, *, hz: float = 220.0, rate: int = 48000, level: float = 0.3) -> Samples:
    """Return a sine (samples,) with peak ``level``."""
    time = np.arange(int(seconds * rate)) / rate
    return np.asarray(level * np.sin(2 * np.pi * hz * time), dtype=np.float32)


VOWELS = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (270, 2290, 3010),
    (570, 840, 2410),
    (300, 870, 2240),
    (660, 1720, 2410),
)
"""First three formants in Hz, after Peterson and Barney (1952)."""
_OWN_RATE = 16000


def speech(seconds: float = 3.0, *, rate: int = 48000, f0: float = 140.0, seed: int = 0) -> Samples:
    """Return speech-like sound (samples,) that a voice detector takes for speech: phrases of syllables, then pauses.

    Each syllable is a hiss and a gliding vowel: glottal pulses through formant resonators. The same ``seed`` gives the
    same samples; ``f0`` in Hz moves the speaker up or down.
    """
    rng = np.random.default_rng(seed)
    sound = np.zeros(int(seconds * _OWN_RATE) + 2 * _OWN_RATE)
    at = int(0.1 * _OWN_RATE)
    while at < seconds * _OWN_RATE:
        for number in range(int(rng.integers(4, 9))):
            syllable = _syllable(rng, f0 * (1.25 - 0.05 * number))
            end = min(at + len(syllable), len(sound))
            sound[at:end] += syllable[: end - at]
            at = end
        at += int(rng.uniform(0.4, 0.7) * _OWN_RATE)
    sound = sound[: int(seconds * _OWN_RATE)]
    sound += 0.0005 * rng.standard_normal(len(sound))
    resampled = soxr.resample(0.3 * sound / np.abs(sound).max(), _OWN_RATE, rate)
    return np.asarray(np.resize(resampled, int(seconds * rate)), dtype=np.float32)


def _syllable(rng: np.random.Generator, hz: float) -> npt.NDArray[np.float64]:
    hiss = np.diff(rng.standard_normal(int(rng.uniform(0.03, 0.08) * _OWN_RATE)), prepend=0.0)
    hiss *= np.hanning(len(hiss)) * rng.uniform(0.02, 0.08)
    length = int(rng.uniform(0.14, 0.26) * _OWN_RATE)
    pulses = _pulses(rng, np.linspace(hz, 0.95 * hz, length))
    first, last = (np.array(VOWELS[rng.integers(len(VOWELS))]) for _ in range(2))
    vowel = np.zeros(length)
    memory = [np.zeros(2) for _ in range(4)]
    for start in range(0, length, 160):
        share = start / length
        block = pulses[start : start + 160]
        formants = [*(first * (1 - share) + last * share), 3500.0]
        for index, (formant, width) in enumerate(zip(formants, (70, 100, 140, 200), strict=True)):
            radius = np.exp(-np.pi * width / _OWN_RATE)
            poles = [1.0, -2 * radius * np.cos(2 * np.pi * formant / _OWN_RATE), radius**2]
            block, memory[index] = lfilter([sum(poles)], poles, block, zi=memory[index])
        vowel[start : start + 160] = block
    ramp = np.minimum(np.arange(length) / 320, (length - np.arange(length)) / 640)
    vowel *= np.minimum(1.0, ramp) * rng.uniform(0.5, 1.0) / np.abs(vowel).max()
    return np.concatenate([hiss, vowel])


def _pulses(rng: np.random.Generator, hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the derivative of glottal flow, after Rosenberg (1971): open 40 % of the period, closing 16 %."""
    wobble = 1 + 0.01 * np.sin(2 * np.pi * 5 * np.arange(len(hz)) / _OWN_RATE) + 0.004 * rng.standard_normal(len(hz))
    phase = np.cumsum(hz * wobble) / _OWN_RATE % 1
    closing = np.where(phase < 0.56, np.cos(np.pi * (phase - 0.4) / 0.32), 0.0)
    flow = np.where(phase < 0.4, 0.5 * (1 - np.cos(np.pi * phase / 0.4)), closing)
    return np.diff(flow, prepend=flow[0]) + 0.003 * rng.standard_normal(len(hz))


def wav_bytes(samples: Samples, rate: int = 48000) -> bytes:
    """Return ``samples`` (n,) or (n, channels) as a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
