"""STFT, log-mel and loudness: one definition for training and inference.

Constants are cached as ordinary tensors even when first asked for under `inference_mode`, so that training in the
same process may use them, and products of spectra stay in float32 even under autocast.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from ml.config import ANALYSIS_HOP, ANALYSIS_RATE, MelConfig
from ml.convnext import full_precision

LOUDNESS_FLOOR_DB = -100.0
HANN_POWER = 0.375
"""Mean square of a periodic Hann window."""
_WARP_KNEE_HZ, _HIGHEST_KNEE = 5500.0, 0.7
_LOUDNESS_WINDOW = 640
_LOUDNESS_FFT = 1024
_LOUDNESS_TOP_HZ = 7800.0


def hz_to_mel(hz: Tensor) -> Tensor:
    """Mel of frequencies in Hz (O'Shaughnessy's formula, as in HTK)."""
    return 2595.0 * torch.log10(1.0 + hz / 700.0)


def mel_to_hz(mel: Tensor) -> Tensor:
    """The inverse of `hz_to_mel`."""
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def hann(size: int) -> Tensor:
    """Periodic Hann window, (size,)."""
    return torch.hann_window(size)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def mel_filters(config: MelConfig, warp: float = 1.0) -> Tensor:
    """Triangular filters (n_fft // 2 + 1, bands), each normalised to sum 1.

    `warp` > 1 reads the bands at `warp` times their frequency, so that the speech seems to come from a longer
    vocal tract; the top is bent to end at ANALYSIS_RATE / 2 (VTLP: Jaitly and Hinton, 2013).
    """
    bins = torch.linspace(0, ANALYSIS_RATE / 2, config.n_fft // 2 + 1)
    ends = hz_to_mel(torch.tensor([config.low_hz, config.high_hz], device="cpu"))
    points = bend(mel_to_hz(torch.linspace(float(ends[0]), float(ends[1]), config.bands + 2)), warp)
    left, centre, right = points[:-2], points[1:-1], points[2:]
    rise = (bins[:, None] - left) / (centre - left).clamp_min(1.0)
    fall = (right - bins[:, None]) / (right - centre).clamp_min(1.0)
    filters = torch.minimum(rise, fall).clamp_min(0.0)
    return filters / filters.sum(0).clamp_min(1e-3)


def bend(hz: Tensor, warp: float, top_hz: float = ANALYSIS_RATE / 2) -> Tensor:
    """Frequencies in Hz times `warp` (0.5..2) in the range of the formants; from there bent so that `top_hz` stays.

    What lies above `top_hz` stays too.
    """
    knee = min(_WARP_KNEE_HZ, _HIGHEST_KNEE * top_hz) * min(warp, 1.0)
    bent = top_hz - (top_hz - knee) / (top_hz - knee / warp) * (top_hz - hz)
    return torch.where(hz <= knee / warp, hz * warp, torch.where(hz < top_hz, bent, hz))


def power(samples: Tensor, n_fft: int, window: int) -> Tensor:
    """Power spectrum (B, T, n_fft // 2 + 1) of (B, N) at ANALYSIS_RATE, T = 1 + N // ANALYSIS_HOP, zero-padded."""
    spectrum = torch.stft(
        samples, n_fft, ANALYSIS_HOP, window, hann(window), center=True, pad_mode="constant", return_complex=True
    )
    squared: Tensor = spectrum.real.square() + spectrum.imag.square()
    return squared.transpose(1, 2)


def power_at(samples: Tensor, n_fft: int, window: int, first: int, count: int) -> Tensor:
    """`power` (count, n_fft // 2 + 1) of (N,) in `count` frames from the one centred at sample `first` on.

    `first` is at least half a window.

    For a few frames: a fraction of what torch.stft takes before it begins.
    """
    begin = first - window // 2
    span = (count - 1) * ANALYSIS_HOP + window
    near = nn.functional.pad(samples[begin : begin + span], (0, max(0, begin + span - len(samples))))
    frames = near.unfold(0, window, ANALYSIS_HOP)
    spectrum = torch.fft.rfft(frames * hann(window), n_fft)
    squared: Tensor = spectrum.real.square() + spectrum.imag.square()
    return squared


def log_mel(samples: Tensor, config: MelConfig, warp: float = 1.0) -> Tensor:
    """Natural log of mel amplitudes, (B, N) at ANALYSIS_RATE in -1..1 -> (B, T, bands), floor ln(config.floor)."""
    return mel_of_power(power(samples, config.n_fft, config.window), config, warp)


@full_precision
def mel_of_power(spectrum: Tensor, config: MelConfig, warp: float = 1.0) -> Tensor:
    """Log-mel (B, T, bands) of a power spectrum (B, T, n_fft // 2 + 1)."""
    return 0.5 * torch.log(spectrum @ mel_filters(config, warp) + config.floor**2)


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _a_weights() -> Tensor:
    # IEC 61672 A-weighting, as power, zero above the top that all sources share.
    f2 = torch.linspace(0, ANALYSIS_RATE / 2, _LOUDNESS_FFT // 2 + 1).double().square()
    numerator = 12194.0**2 * f2.square()
    denominator = (f2 + 20.6**2) * (f2 + 12194.0**2) * ((f2 + 107.7**2) * (f2 + 737.9**2)).sqrt()
    weights = (1.2589 * numerator / denominator).square()
    weights[f2 > _LOUDNESS_TOP_HZ**2] = 0.0
    return weights.float()


@full_precision
def loudness(samples: Tensor) -> Tensor:
    """A-weighted level of 40 ms frames in dB re full scale, (B, N) at ANALYSIS_RATE -> (B, T), >= -100 dB."""
    return _loudness(power(samples, _LOUDNESS_FFT, _LOUDNESS_WINDOW))


@full_precision
def loudness_at(samples: Tensor, first: int, count: int) -> Tensor:
    """`loudness` (count,) of (N,) in `count` frames, the first centred at sample `first`, which is 320 or more."""
    return _loudness(power_at(samples, _LOUDNESS_FFT, _LOUDNESS_WINDOW, first, count))


def _loudness(spectrum: Tensor) -> Tensor:
    # Parseval: both halves of the spectrum, over the FFT's length and the window's energy.
    scale = 2.0 / (_LOUDNESS_FFT * HANN_POWER * _LOUDNESS_WINDOW)
    level = (spectrum @ _a_weights()) * scale
    return 10.0 * torch.log10(level.clamp_min(10.0 ** (LOUDNESS_FLOOR_DB / 10.0)))
