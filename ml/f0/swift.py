"""SwiftF0: the default. A small network of convolutions over three spectrograms, with its author's weights."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.ndimage import binary_dilation
from torch import Tensor, nn

from ml.device import on_device, to_array
from ml.f0 import FRAMES_PER_SECOND, HOP, F0Track
from ml.f0.periodicity import repetition

WEIGHTS = Path(__file__).parent / "weights" / "swift.safetensors"
VOICED_CONFIDENCE = 0.5
_NEAR_FRAMES, _LEAST_CONFIDENCE, _REPETITION = 8, 0.15, 0.65

_HOP = 256  # samples at 16 kHz: its own frames are 16 ms
_WINDOWS, _BANDS, _CHANNELS = (1024, 2048, 512), 128, 12
# (kernel, dilation) over bands, and the kernel over frames, of each residual block.
_BLOCKS = (((7, 1), 3), ((7, 17), 1), ((5, 27), 1), ((3, 40), 1), ((3, 48), 1), ((7, 2), 3))
_SCORED_BANDS = 96
_PITCHES, _LOWEST_HZ, _HIGHEST_HZ = 95, 46.875, 2093.75
_SILENCE_PEAK = 1e-3  # quieter frames lie on the spectrograms' floor, which the network was never trained on
_PIECE, _BEFORE, _AFTER = 1000, 11, 10  # frames at once, and those that a frame's answer depends on besides


def swift(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """SwiftF0's 16 ms frames, interpolated in log frequency to 10 ms, and the breathy frames that it leaves out.

    The network calls breathy and soft frames unvoiced (a fifth of those that FCPE hears as voiced, on read speech), so
    a frame that it doubts is voiced too when the signal repeats itself there at the pitch that is to be expected.
    """
    frames = 1 + len(samples) // HOP
    found = listen(samples, minimum_hz, maximum_hz)
    own_times, times = np.arange(len(found.f0)) * (_HOP / 16_000), np.arange(frames) / FRAMES_PER_SECOND
    confidence = np.interp(times, own_times, found.confidence)
    sure = found.confidence >= VOICED_CONFIDENCE
    if not sure.any():
        return F0Track(np.zeros(frames, np.float32), confidence.astype(np.float32))
    voiced = confidence >= VOICED_CONFIDENCE
    pitch = np.exp2(np.interp(times, own_times[sure], np.log2(found.f0[sure])))
    distant = ~binary_dilation(voiced, iterations=_NEAR_FRAMES)
    pitch[distant] = np.exp2(np.interp(times[distant], own_times, np.log2(found.f0)))
    doubtful = np.flatnonzero(~voiced & (~distant | (confidence >= _LEAST_CONFIDENCE)))
    voiced[doubtful[repetition(samples, doubtful, pitch[doubtful]) > _REPETITION]] = True
    return F0Track(np.where(voiced, pitch, 0).astype(np.float32), confidence.astype(np.float32))


def listen(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """SwiftF0 (Nieradzik, 2025), the network of swift-f0 0.3: `samples` (N,) at 16 kHz -> max(1, N // 256) frames.

    Frame t is centred at t * 16 ms; every frame has a pitch, and is voiced from a confidence of 0.5 upwards. It is 0
    where the likeliest pitch of all lies outside the bounds, and where the sound peaks below 0.001.
    """
    sound = np.pad(samples, (0, max(0, _HOP - len(samples))))
    frames = len(sound) // _HOP
    allowed = (np.log(minimum_hz) <= _log_hz()) & (np.log(maximum_hz) >= _log_hz())
    pitches, confidences = [], []
    for start in range(0, frames, _PIECE):
        end, first = min(start + _PIECE, frames), max(0, start - _BEFORE)
        piece = on_device(sound[first * _HOP : (end + _AFTER) * _HOP if end < frames else len(sound)])
        with torch.inference_mode():
            scores, confidence = _network()(piece)
        inner = slice(start - first, end - first)
        inside = allowed[scores.argmax(1)]
        pitches.append(_pitch(scores.masked_fill(~allowed, -torch.inf))[inner])
        confidences.append((confidence * inside)[inner])
    peaks = np.abs(sound[: frames * _HOP]).reshape(frames, _HOP).max(axis=1)
    confidence = np.where(peaks < _SILENCE_PEAK, 0.0, to_array(torch.cat(confidences)))
    return F0Track(torch.cat(pitches).cpu().numpy(), confidence)


def _pitch(scores: Tensor) -> Tensor:
    """Hz (T,) of scores (T, 95): the mean, in log frequency, of the highest and its two neighbours."""
    around = scores.argmax(1, keepdim=True) + torch.arange(-1, 2)
    weights = torch.softmax(nn.functional.pad(scores, (1, 1), value=-torch.inf).gather(1, around + 1).double(), 1)
    return (weights * _log_hz()[around.clamp(0, _PITCHES - 1)]).sum(1).exp()


class SwiftF0Network(nn.Module):
    """Sound (N,) at 16 kHz, N >= 256 -> scores of 95 pitches (T, 95) and confidence (T,), T = N // 256."""

    def __init__(self) -> None:
        super().__init__()
        self.filters = nn.ParameterList(torch.zeros(size // 2 + 1, _BANDS) for size in _WINDOWS)
        self.windows = [torch.hann_window(size) for size in _WINDOWS]
        self.enter = nn.Conv2d(len(_WINDOWS), _CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(_Block(*block) for block in _BLOCKS)
        self.narrow = nn.Conv2d(_CHANNELS, 4, 3)
        self.voice = nn.Conv2d(4, 4, (5, 1), padding=(2, 0))
        self.score = nn.Conv2d(4, 1, 1)
        self.mix = nn.Conv1d(5, 16, 3, padding=1)
        self.decide = nn.Conv1d(16, 1, 1)

    def layers(self) -> list[str]:
        """Names of all convolutions, in the order in which they are computed."""
        blocks = [f"blocks.{index}.{part}" for index in range(len(_BLOCKS)) for part in ("first", "second")]
        return ["enter", *blocks, "narrow", "voice", "score", "mix", "decide"]

    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
        spectrograms = torch.stack([self._spectrogram(sound, index) for index in range(len(_WINDOWS))])
        # Channels last: a quarter quicker here.
        x = spectrograms.transpose(1, 2)[None].contiguous(memory_format=torch.channels_last)
        x = self.blocks_of(torch.relu(self.enter(x)))
        x = torch.relu(self.narrow(nn.functional.pad(x[:, :, :_SCORED_BANDS], (1, 1, 1, 0))))
        heard = torch.cat([self.voice(x).amax(2), spectrograms.transpose(0, 1).flatten(1).mean(1)[None, None]], dim=1)
        confidence = torch.sigmoid(self.decide(torch.relu(self.mix(heard))))[0, 0]
        return self.score(x)[0, 0].T, confidence

    def blocks_of(self, x: Tensor) -> Tensor:
        """All residual blocks, (1, channels, bands, T) -> the same."""
        for block in self.blocks:
            x = block(x)
        return x

    def _spectrogram(self, sound: Tensor, index: int) -> Tensor:
        """Log magnitudes (T, bands), windows centred at every 256th sample."""
        size = _WINDOWS[index]
        frames = nn.functional.pad(sound, (size // 2, size // 2)).unfold(0, size, _HOP)[: len(sound) // _HOP]
        spectrum = torch.fft.rfft(frames * self.windows[index])
        magnitude = (spectrum.real.square() + spectrum.imag.square()).sqrt()
        return torch.log(magnitude @ self.filters[index] + 1e-8)


class _Block(nn.Module):
    """A residual block of two convolutions over bands, dilated to a harmonic's distance, and frames."""

    def __init__(self, bands: tuple[int, int], frames: int) -> None:
        super().__init__()
        kernel, dilation = bands
        size, apart, padding = (kernel, frames), (dilation, 1), (kernel // 2 * dilation, frames // 2)
        self.first = nn.Conv2d(_CHANNELS, _CHANNELS, size, padding=padding, dilation=apart)
        self.second = nn.Conv2d(_CHANNELS, _CHANNELS, size, padding=padding, dilation=apart)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _network() -> SwiftF0Network:
    network = SwiftF0Network()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval().requires_grad_(False)


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _log_hz() -> Tensor:
    """The pitches that are scored, as natural logs of Hz: (95,)."""
    return torch.linspace(np.log(_LOWEST_HZ), np.log(_HIGHEST_HZ), _PITCHES, dtype=torch.float64)
