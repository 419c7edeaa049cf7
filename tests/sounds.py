"""Sounds made from numbers, the same at each call, as numpy arrays (samples,) of float32 or as WAV bytes."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.float32]


def tone(seconds: float = 1.0, *, hz: float = 220.0, rate: int = 48000, level: float = 0.3) -> Samples:
    """Return a sine (samples,) with peak ``level``."""
    time = np.arange(int(seconds * rate)) / rate
    return np.asarray(level * np.sin(2 * np.pi * hz * time), dtype=np.float32)


def speech(seconds: float = 3.0, *, rate: int = 48000, f0: float = 140.0, seed: int = 0) -> Samples:
    """Return speech-like sound (samples,): a gliding harmonic source through moving formants, in syllables and pauses.

    The same ``seed`` gives the same samples; ``f0`` in Hz moves the speaker up or down.
    """
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    time = np.arange(count) / rate
    pitch = f0 * (1 + 0.12 * np.sin(2 * np.pi * 0.37 * time + seed) + 0.03 * np.sin(2 * np.pi * 2.1 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    knots = np.arange(0, seconds + 0.2, 0.2)  # one vowel every 0.2 s
    syllable = np.interp(time, knots, rng.uniform(0, 1, len(knots)))
    formants = [(500 + 300 * syllable, 90.0), (1500 - 500 * syllable, 120.0), (2500 + 200 * syllable, 180.0)]
    sound = np.zeros(count)
    for harmonic in range(1, int(min(4000.0, rate / 2.5) / (1.2 * f0)) + 1):
        hz = harmonic * pitch
        gain = sum(1.0 / (1.0 + ((hz - centre) / width) ** 2) for centre, width in formants)
        sound += gain * np.sin(harmonic * phase) / np.sqrt(harmonic)
    envelope = np.clip(np.sin(2 * np.pi * 1.9 * time) + 0.6, 0, 1) * (np.sin(2 * np.pi * 0.23 * time + 1) > -0.85)
    sound = sound * envelope + 0.0005 * rng.standard_normal(count)
    return np.asarray(0.3 * sound / np.abs(sound).max(), dtype=np.float32)


def wav_bytes(samples: Samples, rate: int = 48000) -> bytes:
    """Return ``samples`` (n,) or (n, channels) as a 16-bit WAV file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
