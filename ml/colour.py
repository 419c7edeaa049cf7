"""The last touch on a voice: the colour that all its sounds share, made that of its recordings.

A fine-tune of few steps, most of them for the judges too, learns what changes from sound to sound before it has the
mean right. The mean is easy to measure: the log spectra of the takes less those of the takes as the voice says them,
each meant over loud frames. On the decoder's log-gains that is a constant for each band, so it goes into the last
layer's bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.config import FRAME_RATE, ModelConfig
from ml.convnext import fast_precision
from ml.decoder import Decoder, band_centres, fft_size, synthesise
from ml.noise import placed
from ml.parallel import side_by_side
from ml.spectral import hann

SECONDS, TAKES = 15.0, 15
"""How much of a voice's takes is measured, and of how many at most."""
_ROUNDS = 2  # what one adds to pulses and noise overlaps in the spectrum, so the first is not yet exact
_LOUD_DB = 25.0
_LEAST_FRAMES = 50
_MOST = 1.0  # in natural log of amplitude, 8.7 dB, a round
_SMOOTHED_BINS = 9  # some 100 Hz: wider than what is between two harmonics of most voices


@dataclass(frozen=True)
class Said:
    """A take: `content` (T, dimensions), `f0` (T,) in Hz, `loudness` (T,) in dB, and its sound `target` (N,) at the
    voice's rate, N = (T - 1) hops."""

    content: Tensor
    f0: Tensor
    loudness: Tensor
    target: Tensor


@torch.no_grad()
def match(
    decoder: Decoder,
    takes: Sequence[Said],
    speaker: Tensor,
    rate: int,
    level_db: float,
    bandwidth_hz: float,
    config: ModelConfig,
) -> None:
    """Changes the bias of `decoder`'s last layer so that `takes`, said by it as `speaker` (D,), have their own colour.

    `level_db` is the voice's median level: frames within 25 dB of it count. Voiced frames say what the pulses are to
    be, all of them what the noise is. Above `bandwidth_hz`, where nothing was recorded, bands go by as much as the last
    below.
    """
    bands, top = config.decoder.harmonic_bands, config.decoder.top_hz
    loud = torch.cat([take.loudness for take in takes]) > level_db - _LOUD_DB
    voiced = loud & (torch.cat([take.f0 for take in takes]) > 0)
    if int(voiced.sum()) < _LEAST_FRAMES:
        return
    wanted = torch.cat([_log_spectrum(take.target, rate) for take in takes])

    @torch.no_grad()
    def said(index: int) -> Tensor:
        return _log_spectrum(_say(decoder, takes[index], speaker, rate, config, index), rate)

    for _ in range(_ROUNDS):
        missing = wanted - torch.cat(side_by_side(said, range(len(takes))))
        decoder.leave.bias[:bands] += _on_bands(missing[voiced].mean(0), bands, top, rate, bandwidth_hz)
        decoder.leave.bias[bands:] += _on_bands(
            missing[loud].mean(0), config.decoder.noise_bands, top, rate, bandwidth_hz
        )


def _say(decoder: Decoder, take: Said, speaker: Tensor, rate: int, config: ModelConfig, seed: int) -> Tensor:
    frames = len(take.f0)
    noise = placed(seed, 0, 0, frames, decoder.noise_channels)[None]
    white = placed(seed, 1, 0, frames - 1, rate // FRAME_RATE).reshape(1, -1)
    with fast_precision():
        gains = decoder(take.content[None], take.f0[None], take.loudness[None], speaker[None], noise)
    return synthesise(gains, take.f0[None], rate, len(take.target), config, white=white)[0]


def _log_spectrum(samples: Tensor, rate: int) -> Tensor:
    """Natural log of magnitudes, (N,) -> (1 + N // hop, bins), of windows twice as long as those of synthesis."""
    size = 2 * fft_size(rate)
    spectrum = torch.stft(
        samples, size, rate // FRAME_RATE, size, hann(size), center=True, pad_mode="constant", return_complex=True
    )
    return 0.5 * torch.log(spectrum.T.real.square() + spectrum.T.imag.square() + 1e-7)


def _on_bands(values: Tensor, bands: int, top_hz: float, rate: int, bandwidth_hz: float) -> Tensor:
    """Values of FFT bins (bins,) at the bands' centres (bands,), smooth, and constant above `bandwidth_hz`."""
    near = _SMOOTHED_BINS // 2
    padded = nn.functional.pad(values[None, None], (near, near), mode="replicate")
    smooth = nn.functional.avg_pool1d(padded, _SMOOTHED_BINS, 1)[0, 0]
    centres = band_centres(bands, top_hz).clamp(max=min(bandwidth_hz, rate / 2))
    position = centres / (rate / 2) * (len(values) - 1)
    left = position.long().clamp(max=len(values) - 2)
    return torch.lerp(smooth[left], smooth[left + 1], position - left).clamp(-_MOST, _MOST)
