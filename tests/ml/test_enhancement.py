"""Noise and room are taken out of speech by as much as was asked for; the voice, silence and length stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from ml.audio import frame_levels, resample
from ml.base.corpus import read_audio
from ml.enhancement import DEEPEST_DB, Enhancer, enhanced, loud_power
from ml.weights import load_base
from tests.sounds import speech

RATE = 16_000
RECORDINGS = Path(__file__).parents[2].parent / "shared" / "speech" / "dev" / "speech"


@pytest.fixture(scope="module")
def network() -> Enhancer:
    return load_base().enhancer


def spoken(rate: int = RATE) -> Any:
    """Two seconds of pause, then three of speech-like sound (n,)."""
    sound = speech(3.0, rate=rate, f0=130.0, seed=3)
    return np.concatenate([np.zeros(2 * rate, np.float32), sound])


def noisy(sound: Any, below_db: float) -> Any:
    loud = np.sqrt(loud_power(frame_levels(sound, RATE)))
    noise = np.random.default_rng(0).standard_normal(len(sound))
    return (sound + loud * 10 ** (-below_db / 20) * noise).astype(np.float32)


def level(samples: Any) -> float:
    return float(10 * np.log10(np.square(samples, dtype=np.float64).mean() + 1e-20))


def clean(network: Enhancer, samples: Any, strength: float, rate: int = RATE) -> Any:
    return enhanced(network, samples, rate, strength, loud_power(frame_levels(samples, rate)))


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_a_pause_loses_noise_but_no_more_than_was_asked_for(network: Enhancer, strength: float) -> None:
    heard = noisy(spoken(), 25.0)
    made = clean(network, heard, strength)
    assert made.shape == heard.shape and made.dtype == np.float32
    pause = slice(RATE // 4, 3 * RATE // 2)
    fallen = level(heard[pause]) - level(made[pause])
    assert min(0.6 * strength * DEEPEST_DB, 12.0) < fallen < strength * DEEPEST_DB + 0.5


def test_nothing_changes_where_nothing_is_asked_for(network: Enhancer) -> None:
    heard = noisy(spoken(), 20.0)
    assert clean(network, heard, 0.0) is heard


def test_how_loud_a_recording_is_does_not_matter(network: Enhancer) -> None:
    heard = noisy(spoken(), 20.0)
    quiet = clean(network, 0.01 * heard, 0.5) / 0.01
    assert level(quiet - clean(network, heard, 0.5)) < level(heard) - 30


def test_above_eight_kilohertz_noise_falls_as_well(network: Enhancer) -> None:
    rate = 48_000
    sound = spoken(rate) + 0.01 * np.random.default_rng(1).standard_normal(5 * rate).astype(np.float32)
    made = clean(network, sound, 0.5, rate)
    high = [
        x[rate // 4 : 3 * rate // 2] - resample(resample(x, rate, RATE), RATE, rate)[rate // 4 : 3 * rate // 2]
        for x in (sound, made)
    ]
    assert level(high[0]) - level(high[1]) > 6.0


@settings(max_examples=30, deadline=None)
@given(
    samples=arrays.arrays(
        np.float32, some.integers(0, 5000), elements=some.floats(-1, 1, width=32), fill=some.just(np.float32(0))
    ),
    strength=some.floats(0, 1),
    loud=some.sampled_from([0.0, 1e-6, 0.01, 1.0]),
)
def test_any_sound_comes_back_finite_as_long_and_no_louder(
    network: Enhancer, samples: Any, strength: float, loud: float
) -> None:
    made = enhanced(network, samples, RATE, strength, loud)
    assert made.shape == samples.shape and np.isfinite(made).all()
    assert np.square(made).sum() <= np.square(samples).sum() * 1.1 + 1e-9


def test_silence_stays_silence(network: Enhancer) -> None:
    assert not clean(network, np.zeros(RATE, np.float32), 1.0).any()


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the development recordings are not beside the checkout")
@pytest.mark.parametrize("below_db", [5.0, 15.0])
def test_real_speech_in_noise_comes_nearer_to_the_clean_one(network: Enhancer, below_db: float) -> None:
    samples, rate = read_audio(min((RECORDINGS / "ljspeech").iterdir()))
    sound = resample(samples, rate, RATE)
    heard = noisy(sound, below_db)
    made = clean(network, heard, 0.5)
    assert level(made - sound) < level(heard - sound) - 4.0
