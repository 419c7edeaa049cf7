"""Noise is learnt from the pauses and taken out of the whole, by as much as was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ml.activity import pauses
from ml.base.denoising import DEEPEST_DB, Denoiser

RATE, HOP = 24_000, 240


def words(seconds: float = 4.0, noise_db: float = -40.0) -> tuple[Any, Any, Any]:
    """Tone complexes of half a second with pauses as long, in white noise: samples, f0 and level per frame."""
    random = np.random.default_rng(1)
    times = np.arange(int(seconds * RATE)) / RATE
    spoken = (times % 1.0) < 0.5
    tone = sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 20)) * 0.1
    samples = tone * spoken + 10 ** (noise_db / 20) * random.standard_normal(len(times))
    frames = np.arange(1 + len(times) // HOP) / 100
    said = (frames % 1.0) < 0.5
    return samples.astype(np.float32), np.where(said, 150, 0).astype(np.float32), np.where(said, -20, noise_db)


def level(samples: Any, chosen: Any) -> float:
    """RMS in dB of the middle of each chosen half second."""
    frames = samples[: len(samples) // HOP * HOP].reshape(-1, HOP)
    inner = np.convolve(chosen[: len(frames)], np.ones(9), "same") > 8.5
    return float(10 * np.log10(np.square(frames[inner]).mean()))


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_pauses_lose_as_much_as_was_asked_for_and_words_stay(strength: float) -> None:
    samples, f0, levels = words()
    quiet = pauses(f0, levels)
    assert quiet.mean() == pytest.approx(0.5, abs=0.02)
    made = Denoiser(RATE, strength)(samples, quiet)
    assert made.shape == samples.shape and made.dtype == np.float32
    fallen = level(samples, quiet) - level(made, quiet)
    # A Wiener gain at the noise's own level lies between the floor and 1; the deeper the floor, the further above it.
    assert 0.5 * strength * DEEPEST_DB < fallen < strength * DEEPEST_DB + 1
    assert abs(level(samples, ~quiet) - level(made, ~quiet)) < 0.3


def test_nothing_is_taken_where_nothing_is_asked_for_or_known() -> None:
    samples, f0, levels = words()
    quiet = pauses(f0, levels)
    assert Denoiser(RATE, 0.0)(samples, quiet) is samples
    assert Denoiser(RATE, 1.0)(samples, np.zeros_like(quiet)) is samples
    sung = np.full_like(f0, 200.0)
    assert not pauses(sung, levels).any()


def test_a_piece_without_pauses_has_the_noise_of_the_one_before() -> None:
    samples, f0, levels = words()
    quiet = pauses(f0, levels)
    denoiser = Denoiser(RATE, 0.5)
    denoiser(samples, quiet)
    noise = samples[RATE // 2 + 2000 : RATE - 2000]
    made = denoiser(noise, np.zeros(len(noise) // HOP + 1, bool))
    assert np.square(made).mean() < 0.3 * np.square(noise).mean()


@settings(max_examples=30, deadline=None)
@given(
    samples=arrays.arrays(
        np.float32, st.integers(1, 5000), elements=st.floats(-1, 1, width=32), fill=st.just(np.float32(0))
    ),
    strength=st.floats(0, 1),
)
def test_any_sound_comes_back_finite_and_as_long(samples: Any, strength: float) -> None:
    quiet = np.ones(1 + len(samples) // HOP, bool)
    made = Denoiser(RATE, strength)(samples, quiet)
    assert made.shape == samples.shape and np.isfinite(made).all()
    assert np.square(made).sum() <= np.square(samples).sum() * 1.1 + 1e-9
