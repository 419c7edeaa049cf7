"""What training minimises: spectra at several resolutions, and the adversarial terms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ml.convnext import full_precision
from ml.spectral import HANN_POWER, hann

RESOLUTIONS = (2048, 1024, 512, 256)
_FLOOR = 1e-3


@full_precision
def spectral_loss(output: Tensor, target: Tensor, sample_rate: int, bandwidth_hz: Tensor | None = None) -> Tensor:
    """Multi-resolution STFT loss of (B, N) against (B, N), a scalar (Yamamoto et al., 2020).

    Per resolution: L1 of natural-log magnitudes (floor 1e-3 of a full-scale window) plus half the spectral
    convergence. Bins above `bandwidth_hz` (B,) do not count: the target holds nothing there.
    """
    total = output.new_zeros(())
    for size in RESOLUTIONS:
        made, wanted = _magnitude(output, size), _magnitude(target, size)
        mask = _bin_mask(size, sample_rate, bandwidth_hz, output.shape[0])
        logs = (torch.log(made + _FLOOR) - torch.log(wanted + _FLOOR)).abs() * mask
        log_term = logs.sum() / (mask.sum() * made.shape[-1]).clamp_min(1.0)
        difference = ((made - wanted) * mask).square().sum((1, 2)).clamp_min(1e-10).sqrt()
        convergence = difference / (wanted * mask).square().sum((1, 2)).sqrt().clamp_min(1e-2)
        total = total + log_term + 0.5 * convergence.mean()
    return total / len(RESOLUTIONS)


def discriminator_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Hinge loss over the scores of every discriminator, a scalar."""
    terms = [torch.relu(1 - r).mean() + torch.relu(1 + m).mean() for r, m in zip(real, made, strict=True)]
    return torch.stack(terms).mean()


def adversarial_loss(made: Sequence[Tensor]) -> Tensor:
    """What the decoder gains by being taken for real, a scalar: the hinge loss's other side."""
    return torch.stack([torch.relu(1 - m).mean() for m in made]).mean()


def feature_loss(real: Sequence[Sequence[Tensor]], made: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean relative L1 between the discriminators' inner features, a scalar (Larsen et al., 2016)."""
    terms = [
        (r - m).abs().mean() / r.abs().mean().clamp_min(1e-3)
        for real_layers, made_layers in zip(real, made, strict=True)
        for r, m in zip(real_layers, made_layers, strict=True)
    ]
    return torch.stack(terms).mean()


def _magnitude(samples: Tensor, size: int) -> Tensor:
    """(B, N) -> (B, bins, frames), scaled so that a resolution's size does not change the level of noise."""
    spectrum = torch.stft(
        samples, size, size // 4, size, hann(size), center=True, pad_mode="constant", return_complex=True
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return (power * (1.0 / (HANN_POWER * size)) + 1e-10).sqrt()


def _bin_mask(size: int, sample_rate: int, bandwidth_hz: Tensor | None, batch: int) -> Tensor:
    if bandwidth_hz is None:
        return torch.ones(batch, size // 2 + 1, 1)
    hz = torch.linspace(0, sample_rate / 2, size // 2 + 1)
    return (hz[None] <= bandwidth_hz[:, None]).float().unsqueeze(-1)
