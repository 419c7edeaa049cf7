"""The source-filter decoder: pulses, envelopes, and sound of the right length and pitch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ml import f0
from ml.config import FRAME_RATE, SYNTHESIS_RATES, ModelConfig
from ml.decoder import Decoder, Gains, band_centres, fft_size, pulses, roll_off, sharpened, synthesise
from ml.discriminators import Discriminators
from ml.losses import adversarial_loss, discriminator_loss, feature_loss, spectral_loss

CONFIG = ModelConfig()


def flat(frames: int, harmonic: float, noise: float) -> Gains:
    return Gains(torch.full((1, frames, 160), harmonic), torch.full((1, frames, 80), noise))


@pytest.mark.parametrize("rate", SYNTHESIS_RATES)
def test_the_window_lasts_between_30_and_50_ms(rate: int) -> None:
    assert 0.030 <= fft_size(rate) / rate <= 0.047


@pytest.mark.parametrize("rate", SYNTHESIS_RATES)
@pytest.mark.parametrize("spare", [0, 1, 99])
def test_sound_has_exactly_the_samples_asked_for(rate: int, spare: int) -> None:
    length = 50 * rate // FRAME_RATE + spare
    made = synthesise(flat(51, -3.0, -5.0), torch.full((1, 51), 150.0), rate, length, CONFIG)
    assert made.shape == (1, length)
    assert made.isfinite().all()


def test_sharpening_deepens_formants_and_keeps_power_and_noise() -> None:
    torch.manual_seed(0)
    ripple = torch.sin(torch.arange(160) / 160 * 20 * torch.pi)
    gains = Gains(-4.0 + ripple.expand(1, 60, 160).clone(), torch.randn(1, 60, 80))
    deeper = sharpened(gains, CONFIG, 24_000.0)
    assert deeper.harmonic[..., 20:140].std() > 1.15 * gains.harmonic[..., 20:140].std()
    assert torch.equal(deeper.noise, gains.noise)
    contour = torch.full((1, 60), 120.0)
    silent = torch.full((1, 60, 80), -14.0)
    before, after = (
        synthesise(Gains(one.harmonic, silent), contour, 24_000, 59 * 240, CONFIG).square().mean()
        for one in (gains, deeper)
    )
    assert 10 * torch.log10(after / before).item() == pytest.approx(0.0, abs=0.7)
    even = flat(9, -4.0, -5.0)
    assert torch.allclose(sharpened(even, CONFIG, 24_000.0).harmonic, even.harmonic, atol=1e-5)


def test_sharpening_hears_nothing_of_what_was_never_learnt() -> None:
    torch.manual_seed(0)
    gains = Gains(torch.randn(1, 9, 160), torch.randn(1, 9, 80))
    other = Gains(gains.harmonic.clone(), gains.noise)
    above = band_centres(160, CONFIG.decoder.top_hz) > 8000.0
    other.harmonic[..., above] += 5.0 * torch.randn(int(above.sum()))
    first, second = (sharpened(one, CONFIG, 8000.0).harmonic[..., ~above] for one in (gains, other))
    assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("hz", [70.0, 220.0, 900.0])
def test_pulses_have_unit_power_whatever_their_rate(hz: float) -> None:
    train, _ = pulses(torch.full((1, 201), hz), 24_000, 48_000)
    assert train.square().mean().item() == pytest.approx(1.0, abs=0.06)


def test_pulses_are_silent_where_unvoiced() -> None:
    contour = torch.full((1, 101), 150.0)
    contour[:, 30:70] = 0
    train, _ = pulses(contour, 24_000, 24_000)
    assert train[:, 32 * 240 : 67 * 240].abs().max() == 0
    assert train[:, : 28 * 240].abs().max() > 1


def test_a_stream_goes_on_where_the_last_piece_stopped() -> None:
    whole, _ = pulses(torch.full((1, 101), 123.4), 24_000, 24_000)
    first, phase = pulses(torch.full((1, 51), 123.4), 24_000, 12_000)
    second, _ = pulses(torch.full((1, 51), 123.4), 24_000, 12_000, phase)
    assert torch.allclose(torch.cat([first, second], -1)[:, 12_100:], whole[:, 12_100:], atol=1e-3)


@pytest.mark.parametrize("rate", SYNTHESIS_RATES)
def test_flat_gains_return_the_source_itself(rate: int) -> None:
    contour = torch.full((1, 101), 150.0)
    train, _ = pulses(contour, rate, rate)
    made = synthesise(flat(101, 0.0, -14.0), contour, rate, rate, CONFIG)
    assert torch.allclose(made, train, atol=0.02)


def test_sound_has_the_pitch_that_was_asked_for() -> None:
    contour = torch.linspace(120, 240, 201)[None]
    made = synthesise(flat(201, -3.0, -9.0), contour, 24_000, 48_000, CONFIG)
    heard = f0.extract(made[0].numpy(), 24_000).f0
    cents = 1200 * np.log2(heard[20:-20] / contour[0, 20:-20].numpy())
    assert np.abs(cents).max() < 40


def test_minimum_phase_puts_the_energy_at_the_pulse() -> None:
    gains = flat(101, -3.0, -14.0)
    gains.harmonic[..., 40:60] += 2.0
    contour = torch.full((1, 101), 60.0)
    train, _ = pulses(contour, 24_000, 24_000)
    made = synthesise(gains, contour, 24_000, 24_000, CONFIG)
    at = int(train[0, 6000:6400].argmax()) + 6000
    after, before = made[0, at : at + 100].square().sum(), made[0, at - 130 : at - 30].square().sum()
    assert after > 50 * before


def test_bands_above_the_bandwidth_fall_30_db_an_octave() -> None:
    fallen = roll_off(torch.zeros(1, 1, 160), 24_000.0, 4000.0)[0, 0] * 20 / np.log(10)
    centres = band_centres(160, 24_000.0)
    assert fallen[centres <= 3900].eq(0).all()
    assert fallen[-1].item() == pytest.approx(-30 * np.log2(24_000 / 4000), abs=3)
    assert (fallen.diff() <= 0).all()


def test_the_decoder_speaks_in_its_limits_and_trains_everywhere() -> None:
    torch.manual_seed(0)
    decoder = Decoder(CONFIG)
    contour = torch.full((2, 51), 150.0)
    gains = decoder(torch.randn(2, 51, 64), contour, torch.full((2, 51), -30.0), torch.randn(2, 192))
    assert gains.harmonic.shape == (2, 51, 160)
    assert gains.noise.shape == (2, 51, 80)
    made = synthesise(gains, contour, 16_000, 8000, CONFIG)
    spectral_loss(made, torch.randn(2, 8000) * 0.1, 16_000).backward()
    # The condition's last layer starts at zero, so what comes before it learns from the second step on.
    idle = [n for n, p in decoder.named_parameters() if p.grad is None]
    assert not idle


def test_the_spectral_loss_is_nothing_for_equals_and_ignores_what_is_above_the_bandwidth() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(1, 8000) * 0.1
    assert spectral_loss(wanted, wanted, 16_000).item() < 1e-3
    high = torch.sin(2 * torch.pi * 7000 * torch.arange(8000) / 16_000)[None] * 0.3 * torch.hann_window(8000)
    masked = spectral_loss(wanted + high, wanted, 16_000, torch.tensor([5000.0]))
    assert masked < 0.05
    assert spectral_loss(wanted + high, wanted, 16_000) > 5 * masked


def test_the_judges_learn_to_tell_a_tone_from_noise() -> None:
    torch.manual_seed(0)
    judges = Discriminators()
    optimiser = torch.optim.AdamW(judges.parameters(), 2e-3)
    real = torch.sin(2 * torch.pi * 300 * torch.arange(4000) / 16_000).expand(2, -1) * 0.3
    for _ in range(12):
        scores, features = judges(real, 16_000)
        made_scores, made_features = judges(torch.randn(2, 4000) * 0.3, 16_000)
        loss = discriminator_loss(scores, made_scores)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.6
    assert adversarial_loss(made_scores) > adversarial_loss(scores)
    assert feature_loss(features, features) == 0
    assert feature_loss(features, made_features) > 0
