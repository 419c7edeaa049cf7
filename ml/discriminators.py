"""Three small judges of spectrograms, used in the base's last part and in every fine-tune."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ml.spectral import hann

_TOP_HZ = 7600.0
_SLOPE = 0.1


class SpectrogramDiscriminator(nn.Module):
    """Samples (B, N) -> (scores (B, 1, T, F), features of each layer): log-magnitudes below 7.6 kHz.

    A second channel holds the frequency (0..1), so that a judgement may depend on it. After the multi-resolution
    discriminator of UnivNet (Jang et al., 2021), much reduced.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        widths = (2, 16, 24, 32, 32)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(fan_in, fan_out, (3, 5), stride=(1, 2), padding=(1, 2)))
            for fan_in, fan_out in zip(widths, widths[1:], strict=False)
        )
        self.leave = weight_norm(nn.Conv2d(widths[-1], 1, (3, 3), padding=1))

    def forward(self, samples: Tensor, sample_rate: int) -> tuple[Tensor, list[Tensor]]:
        x = self._picture(samples, sample_rate)
        features: list[Tensor] = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), _SLOPE)
            features.append(x)
        return self.leave(x), features

    def _picture(self, samples: Tensor, sample_rate: int) -> Tensor:
        size = round(self.seconds * sample_rate)
        size += size % 2
        spectrum = torch.stft(samples, size, size // 4, size, hann(size), center=True, return_complex=True)
        top = int(_TOP_HZ / sample_rate * size)
        power = spectrum[:, :top].real.square() + spectrum[:, :top].imag.square()
        logs = 0.5 * torch.log(power / hann(size).square().sum() + 1e-7)
        height = torch.linspace(0, 1, top)[None, :, None].expand_as(logs)
        return torch.stack([logs / 4 + 1, height], dim=1).transpose(2, 3)


class Discriminators(nn.Module):
    """Samples (B, N) at any rate -> (list of scores, list of feature lists), one entry per resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.judges = nn.ModuleList(SpectrogramDiscriminator(seconds) for seconds in (0.0427, 0.0213, 0.0107))

    def forward(self, samples: Tensor, sample_rate: int) -> tuple[list[Tensor], list[list[Tensor]]]:
        judged = [judge(samples, sample_rate) for judge in self.judges]
        return [scores for scores, _ in judged], [features for _, features in judged]
