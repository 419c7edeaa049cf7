"""Pitch edits do what they say and leave the rest: voicing, means, vibrato."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

from ml.catalog import SCALES
from ml.pitch_editing import HIGHEST_HZ, LOWEST_HZ, smooth, transpose, tune

FRAMES = 300
TIMES = np.arange(FRAMES) / 100
C_MAJOR = np.array([261.626, 293.665, 329.628, 349.228, 391.995, 440.0, 493.883])


def cents(track: Any, against: Any) -> Any:
    return 1200 * np.log2(np.asarray(track, float) / against)


def sung(note_hz: float, off_cents: float = 0.0, vibrato_cents: float = 0.0) -> Any:
    """A note of three seconds with a vibrato of 6 Hz."""
    moved = off_cents + vibrato_cents * np.sin(2 * np.pi * 6 * TIMES)
    return (note_hz * 2 ** (moved / 1200)).astype(np.float32)


def test_transposing_moves_voiced_frames_alone_and_stays_in_range() -> None:
    track = np.array([0, 100, 0, 1500, 45], np.float32)
    assert np.allclose(transpose(track, 12.0), [0, 200, 0, HIGHEST_HZ, 90])
    assert np.allclose(transpose(track, -12.0), [0, 50, 0, 750, LOWEST_HZ])


def test_smoothing_takes_jitter_out_and_keeps_the_mean() -> None:
    jitter = np.random.default_rng(3).normal(0, 30, FRAMES)
    track = (200 * 2 ** (jitter / 1200)).astype(np.float32)
    made = cents(smooth(track, 30.0), 200)
    assert made.std() < 0.4 * jitter.std()
    assert made.mean() == pytest.approx(jitter.mean(), abs=0.05)


@pytest.mark.parametrize("milliseconds", [10.0, 30.0, 100.0])
def test_vibrato_keeps_what_the_filter_says(milliseconds: float) -> None:
    made = cents(smooth(sung(220.0, vibrato_cents=50.0), milliseconds), 220)[50:250]
    kept = np.exp(-2 * (np.pi * 6 * milliseconds / 1000) ** 2)
    assert np.abs(made).max() == pytest.approx(50 * kept, abs=1.0)


def test_smoothing_does_not_reach_over_a_break() -> None:
    track = np.concatenate([np.full(50, 100), np.zeros(10), np.full(50, 300)]).astype(np.float32)
    assert np.allclose(smooth(track, 100.0), track, rtol=1e-5)


@pytest.mark.parametrize("off", [-40.0, -12.0, 31.0])
@pytest.mark.parametrize("retune", [0.0, 50.0, 400.0])
def test_a_held_note_is_tuned_to_the_nearest_of_the_scale(off: float, retune: float) -> None:
    for note in C_MAJOR:
        assert np.abs(cents(tune(sung(note, off), "C major", 1.0, retune), note)).max() < 2
        half = cents(tune(sung(note, off), "C major", 0.5, retune), note)
        assert np.abs(half - off / 2).max() < 2


def test_a_note_outside_the_scale_goes_to_one_inside_and_chromatically_stays() -> None:
    f_sharp = 369.994
    moved = tune(sung(f_sharp, 20.0), "C major", 1.0, 0.0)
    assert np.abs(cents(moved, 391.995)).max() < 2
    assert np.abs(cents(tune(sung(f_sharp, 20.0), "chromatic", 1.0, 0.0), f_sharp)).max() < 2


def test_retune_time_decides_what_becomes_of_vibrato() -> None:
    track = sung(440.0, off_cents=25.0, vibrato_cents=40.0)
    at_once = cents(tune(track, "A minor", 1.0, 0.0), 440)
    slowly = cents(tune(track, "A minor", 1.0, 200.0), 440)[50:250]
    assert np.abs(at_once).max() < 2
    assert slowly.mean() == pytest.approx(0, abs=3) and np.ptp(slowly) > 70


def test_a_pitch_between_two_notes_does_not_flutter() -> None:
    track = sung(440.0, off_cents=50.0, vibrato_cents=10.0)
    made = cents(tune(track, "chromatic", 1.0, 0.0), 440)
    assert len(np.unique(np.round(made / 100))) == 1


def test_scales_have_the_notes_that_they_are_named_for() -> None:
    assert SCALES["C major"] == (0, 2, 4, 5, 7, 9, 11) == SCALES["A minor"]
    assert SCALES["D major"] == (1, 2, 4, 6, 7, 9, 11)
    assert len(SCALES) == 25 and all(set(notes) <= set(range(12)) for notes in SCALES.values())


hertz = some.one_of(some.just(0.0), some.floats(40, 1600, width=32))


@settings(max_examples=60, deadline=None)
@given(
    track=arrays.arrays(np.float32, some.integers(0, 200), elements=hertz),
    milliseconds=some.floats(0, 100),
    strength=some.floats(0, 1),
    scale=some.sampled_from(sorted(SCALES)),
    retune=some.floats(0, 400),
)
def test_any_track_keeps_its_length_and_voicing(
    track: Any, milliseconds: float, strength: float, scale: str, retune: float
) -> None:
    for made in (smooth(track, milliseconds), tune(track, scale, strength, retune)):
        assert made.shape == track.shape and made.dtype == np.float32
        assert np.array_equal(made > 0, track > 0) and np.isfinite(made).all()
        assert made.max(initial=0.0) <= HIGHEST_HZ * 1.001
    assert smooth(track, 0.0) is track
    assert tune(track, scale, 0.0, retune) is track
