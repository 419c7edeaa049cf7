"""The source-filter decoder: content, pitch, loudness and a speaker become spectral envelopes, then sound.

The network writes log-gains on mel-spaced bands in Hz, so one set of weights serves every sample rate. A train of
band-limited pulses takes the harmonic envelope with minimum phase, white noise takes the noise envelope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from ml import fused
from ml.config import FRAME_RATE, ModelConfig
from ml.convnext import ConvNeXtBlock, full_precision
from ml.spectral import bend, hann, hz_to_mel, mel_to_hz

ROLL_OFF_DB_PER_OCTAVE = 30.0
PULSE_REACH = 16
SHARPNESS, SHARPENED_BANDS = 0.3, 15
_LOG_GAIN_LIMITS = (-14.0, 3.0)
_DB_TO_LOG = math.log(10.0) / 20.0


@dataclass(frozen=True)
class Gains:
    """Natural-log amplitude gains: `harmonic` (B, T, harmonic bands) and `noise` (B, T, noise bands)."""

    harmonic: Tensor
    noise: Tensor


class Decoder(nn.Module):
    """Content (B, T, dimensions), f0 (B, T) in Hz (0: unvoiced), loudness (B, T) in dB, speaker (B, dimensions)
    -> Gains. The receptive field is +-21 frames."""

    context = 21

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = config.decoder
        self.config = config
        self.noise_channels = sizes.noise_channels
        self.speaker = nn.Sequential(
            nn.Linear(config.speaker.dimensions, sizes.speaker_hidden),
            nn.GELU(),
            nn.Linear(sizes.speaker_hidden, sizes.speaker_hidden),
        )
        self.enter = nn.Linear(config.content.dimensions + 3 + sizes.noise_channels, sizes.width)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(sizes.width, sizes.expansion, sizes.kernel, dilation, sizes.speaker_hidden)
            for dilation in sizes.dilations
        )
        self.norm = nn.LayerNorm(sizes.width)
        self.leave = nn.Linear(sizes.width, sizes.harmonic_bands + sizes.noise_bands)
        with torch.no_grad():
            self.leave.weight.mul_(0.2)
            self.leave.bias.fill_(-5.0)

    def forward(
        self, content: Tensor, f0: Tensor, loudness: Tensor, speaker: Tensor, noise: Tensor | None = None
    ) -> Gains:
        """`noise` (B, T, noise channels), standard normal, is drawn when not given: micro-variation to draw on."""
        if noise is None:
            noise = torch.randn(*f0.shape, self.noise_channels)
        condition = self.condition(speaker)
        x = self.enter(self.features(content, f0, loudness, noise))
        for block in self.blocks:
            x = block(x, condition)
        return self.gains(x)

    def condition(self, speaker: Tensor) -> Tensor:
        """Speaker (B, dimensions) -> what the blocks are conditioned on (B, speaker_hidden)."""
        hidden: Tensor = self.speaker(speaker * speaker.shape[-1] ** 0.5)
        return hidden

    def features(self, content: Tensor, f0: Tensor, loudness: Tensor, noise: Tensor) -> Tensor:
        """Inputs as in `forward`, (..., T, ...) -> what the first layer takes (..., T, its width)."""
        voiced = (f0 > 0).float()
        pitch = torch.log2(f0.clamp_min(20.0) / 200.0) * voiced
        level = (loudness + 35.0) / 15.0
        return torch.cat([content, torch.stack([pitch, voiced, level], dim=-1), noise], dim=-1)

    def gains(self, x: Tensor) -> Gains:
        """What the last block gave (B, T, width) -> Gains."""
        return self.limited(self.leave(self.norm(x)).float())

    def limited(self, gains: Tensor) -> Gains:
        """What the last layer gave (B, T, bands of both kinds) -> Gains."""
        gains = gains.clamp(*_LOG_GAIN_LIMITS)
        bands = self.config.decoder.harmonic_bands
        return Gains(gains[..., :bands], gains[..., bands:])


def fft_size(sample_rate: int) -> int:
    """Length of the synthesis window in samples: 2048 at 44.1 and 48 kHz, 1024 at 24 kHz, 512 at 16 kHz."""
    return 1 << int(math.log2(sample_rate * 0.0465))


def pulses(f0: Tensor, sample_rate: int, length: int, phase: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Band-limited pulse train of mean power 1 where voiced, else 0: f0 (B, T) in Hz -> (B, length).

    `phase` (B,), in cycles, is where the first period starts; the phase after the last sample is returned too, so
    that a stream can go on from there. Pulses are Hann-windowed sincs centred between samples.
    """
    batch, frames = f0.shape
    if phase is None:
        phase = torch.zeros(batch, dtype=torch.float64)
    voiced = f0 > 0
    position = torch.arange(length, dtype=torch.float64) * (FRAME_RATE / sample_rate)
    left = position.floor().long().clamp(max=frames - 1)
    right = (left + 1).clamp(max=frames - 1)
    share = (position - left).clamp(0, 1)
    pitch = f0.double()
    # At the edge of a voiced stretch the pitch of its last voiced frame holds.
    first, second = pitch[:, left], pitch[:, right]
    first, second = torch.where(first > 0, first, second), torch.where(second > 0, second, first)
    step = (first + (second - first) * share) / sample_rate
    cycles = phase[:, None] + step.cumsum(-1)
    before = torch.cat([phase[:, None], cycles[:, :-1]], dim=-1)
    nearest = torch.where(share < 0.5, left, right)
    hit = (cycles.floor() > before.floor()) & voiced.gather(1, nearest.expand(batch, -1))
    row, index = hit.nonzero(as_tuple=True)
    late = ((cycles - cycles.floor())[hit] / step[hit]).float()
    height = step[hit].float().rsqrt()
    taps = torch.arange(-PULSE_REACH, PULSE_REACH + 1)
    distance = taps.float()[None] + late[:, None]
    shape = torch.sinc(distance) * (0.5 + 0.5 * torch.cos(math.pi * distance / (PULSE_REACH + 1))).clamp_min(0)
    width = length + 2 * PULSE_REACH
    where = (index + row * width + PULSE_REACH)[:, None] + taps[None]
    train = torch.zeros(batch * width)
    train.index_add_(0, where.flatten(), (shape * height[:, None]).flatten())
    inner = train.view(batch, width)[:, PULSE_REACH : PULSE_REACH + length]
    return inner, cycles[:, -1] % 1.0 if length else phase


@full_precision
def synthesise(
    gains: Gains,
    f0: Tensor,
    sample_rate: int,
    length: int,
    config: ModelConfig,
    bandwidth_hz: float | None = None,
    white: Tensor | None = None,
    phase: Tensor | None = None,
) -> Tensor:
    """Sound (B, length) at `sample_rate`, a multiple of FRAME_RATE, from Gains and f0 (B, T).

    T must be 1 + length // hop. `white` (B, length) is the noise to shape, drawn when not given. Above
    `bandwidth_hz`, where the voice's recordings held nothing to learn from, envelopes fall from their value there by
    ROLL_OFF_DB_PER_OCTAVE. Differentiable in the gains.
    """
    size, hop = fft_size(sample_rate), sample_rate // FRAME_RATE
    window = hann(size)
    train, _ = pulses(f0, sample_rate, length, phase)
    white = torch.randn(f0.shape[0], length) if white is None else white
    source = torch.stft(
        torch.cat([train, white]), size, hop, size, window, center=True, pad_mode="constant", return_complex=True
    ).transpose(1, 2)
    harmonic, turbulent = responses(gains, sample_rate, config, bandwidth_hz)
    voiced, breath = source[: f0.shape[0]], source[f0.shape[0] :]
    if fused.there(source):
        spectrum = harmonic.mul_(voiced).add_(breath.mul_(turbulent))  # less memory by twice a spectrum
    else:
        spectrum = voiced * harmonic + breath * turbulent
    return torch.istft(spectrum.transpose(1, 2), size, hop, size, window, center=True, length=length)


def shift_formants(gains: Gains, semitones: float, config: ModelConfig, bandwidth_hz: float) -> Gains:
    """Gains whose envelopes are moved by `semitones` (-12..12) along frequency, as by a shorter or longer vocal tract.

    Formants move by the whole ratio; towards `bandwidth_hz` the move fades out, so that the sound stays as wide as it
    was (the bend of VTLP: Jaitly and Hinton, 2013). A formant of another width has another power at the same gain;
    that is made up for. Pitch is not in the gains, so it stays.
    """
    if semitones == 0.0:
        return gains
    ratio = 2.0 ** (semitones / 12)
    louder = -0.5 * math.log(ratio)
    moved = [
        one @ _formant_matrix(one.shape[-1], config.decoder.top_hz, ratio, bandwidth_hz) + louder
        for one in (gains.harmonic, gains.noise)
    ]
    return Gains(*moved)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _formant_matrix(bands: int, top_hz: float, ratio: float, bandwidth_hz: float) -> Tensor:
    """(bands, bands): each band as interpolated from where its frequency was before formants moved by `ratio`."""
    before = bend(band_centres(bands, top_hz), 1 / ratio, min(bandwidth_hz, top_hz))
    position = hz_to_mel(before) / hz_to_mel(torch.tensor(top_hz)) * (bands - 1)
    index = torch.arange(bands, dtype=torch.float32)[:, None]
    return (1 - (position[None] - index).abs()).clamp_min(0)


def sharpened(gains: Gains, config: ModelConfig, bandwidth_hz: float) -> Gains:
    """Gains whose harmonic envelope has peaks and valleys SHARPNESS deeper, at the same power in every frame.

    A network that learnt from content as it was said, and then hears it from somebody else, answers with the mean of
    what it has learnt: envelopes flatter than any that were spoken. The post-filter for that, long used on synthesis
    from models of spectra (Yoshimura et al., 2005), raises what is left of an envelope's shape above its mean over
    SHARPENED_BANDS neighbouring bands up to `bandwidth_hz`. Noise envelopes stay: those of breath are smooth.
    """
    sizes = config.decoder
    last = _last_band(sizes.harmonic_bands, sizes.top_hz, bandwidth_hz)
    deeper = gains.harmonic @ _sharpening_matrix(sizes.harmonic_bands, last)
    width = _log_widths(sizes.harmonic_bands, sizes.top_hz, last)
    both = torch.stack([gains.harmonic[..., : last + 1], deeper[..., : last + 1]])
    before, after = torch.logsumexp(2 * both + width, -1, keepdim=True)
    return Gains(deeper + 0.5 * (before - after), gains.noise)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _sharpening_matrix(bands: int, last: int) -> Tensor:
    """(bands, bands): each band, and SHARPNESS of its distance to the mean of those around it, edges repeated.

    Bands above `last` were never learnt, so no other band's mean holds them.
    """
    near = SHARPENED_BANDS // 2
    around = (torch.arange(bands)[:, None] + torch.arange(-near, near + 1)).clamp(0, last)
    mean = torch.zeros(bands, bands).scatter_add_(1, around, torch.full(around.shape, 1 / SHARPENED_BANDS)).T
    return (1 + SHARPNESS) * torch.eye(bands) - SHARPNESS * mean


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _log_widths(bands: int, top_hz: float, last: int) -> Tensor:
    """Natural log of half the distance in Hz between the neighbours of each band up to `last`: (last + 1,)."""
    centres = band_centres(bands, top_hz)
    widths = (torch.cat([centres[1:], centres[-1:]]) - torch.cat([centres[:1], centres[:-1]])) / 2
    return widths[: last + 1].log()


def responses(
    gains: Gains, sample_rate: int, config: ModelConfig, bandwidth_hz: float | None = None
) -> tuple[Tensor, Tensor]:
    """What pulses (complex, minimum phase) and noise (real) are multiplied with, both (B, T, bins)."""
    sizes = config.decoder
    _, hilbert = _bands_to_bins(sizes.harmonic_bands, sizes.top_hz, sample_rate)
    harmonic, turbulent = gains.harmonic, gains.noise
    if bandwidth_hz is not None:
        harmonic = roll_off(harmonic, sizes.top_hz, bandwidth_hz)
        turbulent = roll_off(turbulent, sizes.top_hz, bandwidth_hz)
    loud, breath = (torch.exp(_on_bins(one, sizes.top_hz, sample_rate)) for one in (harmonic, turbulent))
    phase = harmonic @ hilbert
    # In half of the time of torch.polar.
    return torch.complex(loud * phase.cos(), loud * phase.sin()), breath


def _on_bins(gains: Tensor, top_hz: float, sample_rate: int) -> Tensor:
    """Log-gains (B, T, bands) at FFT bins (B, T, bins), interpolated linearly along mels."""
    if fused.there(gains):
        left, share = _between_bands(gains.shape[-1], top_hz, sample_rate)
        return torch.lerp(gains[..., left], gains[..., left + 1], share)
    # With a gradient: its way back through a product is quicker than through what was selected.
    return gains @ _bands_to_bins(gains.shape[-1], top_hz, sample_rate)[0]


def roll_off(gains: Tensor, top_hz: float, bandwidth_hz: float) -> Tensor:
    """Gains (B, T, bands) whose bands above `bandwidth_hz` fall from the last band below it."""
    last = _last_band(gains.shape[-1], top_hz, bandwidth_hz)
    tail = gains[..., last : last + 1] - _fall(gains.shape[-1], top_hz, last)
    return torch.cat([gains[..., : last + 1], tail], dim=-1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _fall(bands: int, top_hz: float, last: int) -> Tensor:
    """By how much the log-gain of each band above `last` lies under that band's."""
    centres = band_centres(bands, top_hz)
    octaves = torch.log2(centres[last + 1 :] / centres[last].clamp_min(1.0))
    return octaves * (ROLL_OFF_DB_PER_OCTAVE * _DB_TO_LOG)


@lru_cache(maxsize=64)
def _last_band(bands: int, top_hz: float, bandwidth_hz: float) -> int:
    """Index of the highest band whose centre is not above `bandwidth_hz`."""
    top, wanted = (float(hz_to_mel(torch.tensor(hz, device="cpu"))) for hz in (top_hz, bandwidth_hz))
    return min(bands - 1, max(0, int(wanted / top * (bands - 1) + 1e-4)))


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def band_centres(bands: int, top_hz: float) -> Tensor:
    """Centre frequencies in Hz, (bands,), mel-spaced from 0 to `top_hz`."""
    return mel_to_hz(torch.linspace(0, float(hz_to_mel(torch.tensor(top_hz, device="cpu"))), bands))


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _between_bands(bands: int, top_hz: float, sample_rate: int) -> tuple[Tensor, Tensor]:
    """For every FFT bin the band below it, and how far it lies towards the next: both (bins,)."""
    hz = torch.linspace(0, sample_rate / 2, fft_size(sample_rate) // 2 + 1)
    position = hz_to_mel(hz) / hz_to_mel(torch.tensor(top_hz)) * (bands - 1)
    left = position.long().clamp(max=bands - 2)
    return left, position - left


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _bands_to_bins(bands: int, top_hz: float, sample_rate: int) -> tuple[Tensor, Tensor]:
    """Two matrices (bands, bins): linear interpolation of log-gains to FFT bins, and their minimum phase.

    Minimum phase is the Hilbert transform of the log-magnitude (Oppenheim and Schafer), so it too is linear in
    the log-gains, and one matrix product replaces two FFTs per frame.
    """
    size = fft_size(sample_rate)
    hz = torch.linspace(0, sample_rate / 2, size // 2 + 1)
    position = hz_to_mel(hz) / hz_to_mel(torch.tensor(top_hz)) * (bands - 1)
    index = torch.arange(bands, dtype=torch.float32)[:, None]
    envelope = (1 - (position[None] - index).abs()).clamp_min(0)
    cepstrum = torch.fft.irfft(envelope.double(), n=size)
    fold = torch.zeros(size, dtype=torch.float64)
    fold[0] = fold[size // 2] = 1.0
    fold[1 : size // 2] = 2.0
    hilbert = torch.fft.rfft(cepstrum * fold, n=size).imag
    return envelope, hilbert.float()
