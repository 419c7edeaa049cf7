"""Every pitch method: the right pitch, at the right time, and none where there is no voice."""

from __future__ import annotations

import numpy as np
import pytest

from ml import f0
from ml.catalog import F0_METHODS
from tests.sounds import speech

RATE = 16_000


def harmonics(hertz: np.ndarray, rate: int = RATE) -> np.ndarray:
    """A buzz (n,) at the given pitch per sample."""
    phase = 2 * np.pi * np.cumsum(hertz / rate)
    return (0.2 * sum(np.sin(k * phase) / k for k in range(1, 8))).astype(np.float32)


@pytest.mark.parametrize("method", F0_METHODS)
@pytest.mark.parametrize("hertz", [80.0, 220.0, 700.0])
def test_a_steady_buzz_has_its_pitch(method: str, hertz: float) -> None:
    found = f0.extract(harmonics(np.full(RATE, hertz)), RATE, method).f0[10:-10]
    assert (found > 0).mean() > 0.95
    assert np.abs(1200 * np.log2(found[found > 0] / hertz)).max() < 25


@pytest.mark.parametrize("method", F0_METHODS)
def test_a_glide_is_followed_at_the_right_time(method: str) -> None:
    times = np.arange(2 * RATE) / RATE
    found = f0.extract(harmonics(100 * 2 ** (times / 2)), RATE, method).f0
    middle = np.arange(20, 180)
    wanted = 100 * 2 ** (middle / 100 / 2)
    voiced = found[middle] > 0
    assert voiced.mean() > 0.95
    # 10 ms late would be 6 cents off at this speed.
    assert np.abs(np.median(1200 * np.log2(found[middle][voiced] / wanted[voiced]))) < 6


@pytest.mark.parametrize("method", F0_METHODS)
@pytest.mark.parametrize("samples", [0, 1, 159, 160, 4321])
def test_there_is_a_frame_every_ten_milliseconds_and_none_is_voiced_in_silence(method: str, samples: int) -> None:
    found = f0.extract(np.zeros(samples, np.float32), RATE, method)
    assert len(found.f0) == len(found.confidence) == 1 + samples // 160
    assert not found.f0.any()


@pytest.mark.parametrize("method", F0_METHODS)
def test_noise_is_not_voiced(method: str) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.05
    assert (f0.extract(noise, RATE, method).f0 > 0).mean() < 0.35


def test_the_methods_agree_on_speech_at_any_rate() -> None:
    samples = speech(3.0, rate=44_100)
    tracks = [f0.extract(samples, 44_100, method).f0 for method in F0_METHODS]
    for other in tracks[1:]:
        both = (tracks[0] > 0) & (other > 0)
        assert both.sum() > 80
        assert np.median(np.abs(1200 * np.log2(tracks[0][both] / other[both]))) < 40


def test_an_unknown_method_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        f0.extract(np.zeros(100, np.float32), RATE, "guess")
