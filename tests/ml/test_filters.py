"""Filters without scipy.signal are those of scipy.signal."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from ml.filters import Cascade, Sections, band_pass, high_pass
from ml.loudness import k_weighting

BUTTER = scipy.signal.butter
PAIRS = [
    (high_pass(52.5, 48_000), BUTTER(2, 52.5, "highpass", fs=48_000, output="sos")),
    (band_pass(4, 60.0, 1200.0, 8_000), BUTTER(4, [60, 1200], "bandpass", fs=8_000, output="sos")),
    (k_weighting(44_100), k_weighting(44_100)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_sections_answer_as_scipys_do(ours: Sections, theirs: Sections) -> None:
    _, one = scipy.signal.freqz_sos(ours, 4000)
    _, other = scipy.signal.freqz_sos(theirs, 4000)
    assert np.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("cuts", [[], [0, 1, 2, 5, 8197], [16_384]])
def test_parts_of_any_length_are_filtered_as_scipy_filters_the_whole(
    ours: Sections, theirs: Sections, cuts: list[int]
) -> None:
    samples = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    cascade = Cascade(ours)
    made = np.concatenate([cascade(part) for part in np.split(samples, cuts)])
    assert np.abs(made - scipy.signal.sosfilt(theirs, samples.astype(np.float64))).max() < 1e-9
    assert len(Cascade(ours)(samples[:0])) == 0
