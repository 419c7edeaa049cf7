"""The analysis that training and inference share."""

from __future__ import annotations

import math

import pytest
import torch

from ml import spectral
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, MelConfig


def sine(hz: float, seconds: float = 1.0, amplitude: float = 1.0) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * hz * torch.arange(int(seconds * ANALYSIS_RATE)) / ANALYSIS_RATE)[None]


@pytest.mark.parametrize("length", [0, 1, ANALYSIS_HOP - 1, ANALYSIS_HOP, 16_001])
def test_a_signal_has_one_frame_more_than_whole_hops(length: int) -> None:
    samples = torch.zeros(2, length)
    frames = 1 + length // ANALYSIS_HOP
    assert spectral.log_mel(samples, MelConfig()).shape == (2, frames, 80)
    assert spectral.loudness(samples).shape == (2, frames)


def test_a_full_scale_kilohertz_is_3_db_below_full_scale() -> None:
    assert spectral.loudness(sine(1000))[0, 20:-20].mean().item() == pytest.approx(-3.01, abs=0.2)


def test_a_weighting_takes_19_db_from_100_hz() -> None:
    difference = spectral.loudness(sine(1000))[0, 50] - spectral.loudness(sine(100))[0, 50]
    assert difference.item() == pytest.approx(19.1, abs=0.5)


def test_half_the_amplitude_is_6_db_less_and_silence_is_the_floor() -> None:
    loud, soft = spectral.loudness(sine(1000))[0, 50], spectral.loudness(sine(1000, amplitude=0.5))[0, 50]
    assert (loud - soft).item() == pytest.approx(6.02, abs=0.01)
    assert spectral.loudness(torch.zeros(1, 1600)).eq(spectral.LOUDNESS_FLOOR_DB).all()


def test_every_filter_sums_to_one_and_warped_filters_too() -> None:
    for warp in (0.8, 1.0, 1.25):
        sums = spectral.mel_filters(MelConfig(), warp).sum(0)
        assert torch.allclose(sums, torch.ones(80), atol=1e-4)


def test_a_warp_moves_a_tone_to_a_lower_band() -> None:
    plain = spectral.log_mel(sine(2000), MelConfig())[0, 50].argmax()
    warped = spectral.log_mel(sine(2000 * 1.2), MelConfig(), warp=1.2)[0, 50].argmax()
    assert plain == warped
    assert spectral.log_mel(sine(2000), MelConfig(), warp=1.2)[0, 50].argmax() < plain


def test_constants_first_made_under_inference_mode_serve_training() -> None:
    spectral.mel_filters.cache_clear()
    spectral.hann.cache_clear()
    with torch.inference_mode():
        spectral.log_mel(sine(440), MelConfig())
    samples = sine(440).requires_grad_()
    spectral.log_mel(samples, MelConfig()).sum().backward()
    assert samples.grad is not None
    assert samples.grad.isfinite().all()


def test_autocast_does_not_coarsen_the_mel() -> None:
    plain = spectral.log_mel(sine(440), MelConfig())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(spectral.log_mel(sine(440), MelConfig()), plain)


def test_mel_and_hz_are_inverse() -> None:
    hz = torch.tensor([0.0, 50.0, 440.0, 7600.0, 24_000.0])
    assert torch.allclose(spectral.mel_to_hz(spectral.hz_to_mel(hz)), hz, rtol=1e-4, atol=1e-2)
