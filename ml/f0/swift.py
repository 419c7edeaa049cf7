"""SwiftF0: the default. A small network of convolutions over three spectrograms, with its author's weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ml import fused
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
    return _with_breath(samples, listen(samples, minimum_hz, maximum_hz))


def swift_of_all(sounds: Sequence[NDArray[np.float32]], minimum_hz: float, maximum_hz: float) -> list[F0Track]:
    """`swift` of each of some short sounds of one length, the same to the bit.

    They go through the network together, in three quarters of the time, where that gives the same on this processor.
    """
    rows = np.stack(sounds)
    if len(rows) == 1 or not 2 * _HOP <= rows.shape[1] <= _PIECE * _HOP or not _even(rows.shape):
        return [swift(samples, minimum_hz, maximum_hz) for samples in sounds]
    with torch.inference_mode():
        scores, confidence = (to_array(found) for found in _network()(on_device(rows)))
    heard = (_chosen(*one, minimum_hz, maximum_hz) for one in zip(rows, scores, confidence, strict=True))
    return [_with_breath(samples, found) for samples, found in zip(rows, heard, strict=True)]


@lru_cache(maxsize=8)
def _even(shape: tuple[int, int]) -> bool:
    """Says whether sounds (B, N) give together what each gives alone, to the bit, on this processor."""
    noise = on_device(np.random.default_rng(0).standard_normal(shape).astype(np.float32) / 8)
    with torch.inference_mode():
        together, alone = _network()(noise), [_network()(row[None]) for row in noise]
    joined = (torch.cat(parts) for parts in zip(*alone, strict=True))
    return all(torch.equal(found, expected) for found, expected in zip(together, joined, strict=True))


def _with_breath(samples: NDArray[np.float32], found: F0Track) -> F0Track:
    """What the network `found` in frames of 16 ms, at 100 frames a second, and the breathy ones; see `swift`."""
    frames = 1 + len(samples) // HOP
    own_times, times = np.arange(len(found.f0)) * (_HOP / 16_000), np.arange(frames) / FRAMES_PER_SECOND
    confidence = np.interp(times, own_times, found.confidence)
    sure = found.confidence >= VOICED_CONFIDENCE
    if not sure.any():
        return F0Track(np.zeros(frames, np.float32), confidence.astype(np.float32))
    voiced = confidence >= VOICED_CONFIDENCE
    pitch = np.exp2(np.interp(times, own_times[sure], np.log2(found.f0[sure])))
    distant = ~_near(voiced, _NEAR_FRAMES)
    pitch[distant] = np.exp2(np.interp(times[distant], own_times, np.log2(found.f0)))
    doubtful = np.flatnonzero(~voiced & (~distant | (confidence >= _LEAST_CONFIDENCE)))
    voiced[doubtful[repetition(samples, doubtful, pitch[doubtful]) > _REPETITION]] = True
    return F0Track(np.where(voiced, pitch, 0).astype(np.float32), confidence.astype(np.float32))


def listen(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """SwiftF0 (Nieradzik, 2025), the network of swift-f0 0.3: `samples` (N,) at 16 kHz -> max(1, N // 256) frames.

    Frame t is centred at t * 16 ms; every frame has a pitch, and is voiced from a confidence of 0.5 upwards. It is 0
    where the likeliest pitch of all lies outside the bounds, and where the sound peaks below 0.001.
    """
    sound = samples if len(samples) >= _HOP else np.pad(samples, (0, _HOP - len(samples)))
    frames = len(sound) // _HOP
    parts = []
    for start in range(0, frames, _PIECE):
        end, first = min(start + _PIECE, frames), max(0, start - _BEFORE)
        piece = on_device(sound[first * _HOP : (end + _AFTER) * _HOP if end < frames else len(sound)])
        with torch.inference_mode():
            score, confidence = (to_array(found)[0, start - first : end - first] for found in _network()(piece[None]))
        parts.append(_chosen(sound[start * _HOP : end * _HOP], score, confidence, minimum_hz, maximum_hz))
    return F0Track(np.concatenate([part.f0 for part in parts]), np.concatenate([part.confidence for part in parts]))


def _chosen(
    sound: NDArray[np.float32],
    scores: NDArray[np.float32],
    confidence: NDArray[np.float32],
    minimum_hz: float,
    maximum_hz: float,
) -> F0Track:
    """The pitch of each frame by its `scores` (T, 95) within the bounds; see `listen`."""
    frames = len(scores)
    allowed = (np.log(minimum_hz) <= _log_hz()) & (np.log(maximum_hz) >= _log_hz())
    confidence = confidence * allowed[scores.argmax(1)]
    peaks = np.abs(sound[: frames * _HOP]).reshape(frames, _HOP).max(axis=1)
    confidence = np.where(peaks < _SILENCE_PEAK, 0.0, confidence)
    pitch = _pitch(np.where(allowed, scores, -np.inf))
    return F0Track(pitch.astype(np.float32), confidence.astype(np.float32))


def _near(voiced: NDArray[np.bool_], frames: int) -> NDArray[np.bool_]:
    """Where one of (T,) is true at most so many `frames` before or after."""
    count = np.concatenate([[0], np.cumsum(voiced)])
    place = np.arange(len(voiced))
    near: NDArray[np.bool_] = count[np.minimum(place + frames + 1, len(voiced))] > count[np.maximum(place - frames, 0)]
    return near


def _pitch(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Hz (T,) of scores (T, 95): the mean, in log frequency, of the highest and its two neighbours."""
    around = scores.argmax(1)[:, None] + np.arange(-1, 2)
    inside = around.clip(0, _PITCHES - 1)
    values = np.where(around == inside, np.take_along_axis(scores, inside, 1), -np.inf).astype(np.float64)
    weights = np.exp(values - values[:, 1:2])
    return np.asarray(np.exp((weights * _log_hz()[inside]).sum(1) / weights.sum(1)))


class SwiftF0Network(nn.Module):
    """Sound (B, N) at 16 kHz, N >= 256 -> scores of 95 pitches (B, T, 95), confidence (B, T), T = N // 256."""

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
        spectrograms = torch.stack([self._spectrogram(sound, index) for index in range(len(_WINDOWS))], dim=1)
        # Channels last: a quarter quicker here.
        x = spectrograms.contiguous(memory_format=torch.channels_last)
        if fused.there(x):
            enter, narrow = self._packed
            # The last band scored has one more after it, and the row that is scored there is left out.
            x = narrow(self.blocks_of(enter(x), _SCORED_BANDS + 1))[:, :, : _SCORED_BANDS - 1]
        else:
            x = self.blocks_of(torch.relu(self.enter(x)))
            x = torch.relu(self.narrow(nn.functional.pad(x[:, :, :_SCORED_BANDS], (1, 1, 1, 0))))
        # Row by row: sums over two together are rounded otherwise.
        rows = zip(torch.split(x, 1), torch.split(spectrograms, 1), strict=True)
        confidence = torch.cat([self._confidence(*row) for row in rows])
        return self.score(x)[:, 0].mT, confidence

    def _confidence(self, x: Tensor, spectrograms: Tensor) -> Tensor:
        heard = torch.cat([self.voice(x).amax(2), spectrograms.mean((1, 2))[:, None]], dim=1)
        return torch.sigmoid(self.decide(torch.relu(self.mix(heard))))[:, 0]

    @cached_property
    def _packed(self) -> tuple[fused.Conv2d, fused.Conv2d]:
        return fused.Conv2d(self.enter, "relu"), fused.Conv2d(self.narrow, "relu", (1, 1))

    def blocks_of(self, x: Tensor, wanted: int = _BANDS) -> Tensor:
        """All residual blocks, (B, channels, bands, T) -> the first `wanted` bands, which may be in its place."""
        *others, last = self.blocks
        for block in others:
            x = block(x)
        # What the last block hears of the bands above those that are wanted; the blocks before it reach over all.
        (kernel, dilation), _ = _BLOCKS[-1]
        scored: Tensor = last(x[:, :, : wanted + 2 * (kernel // 2) * dilation])[:, :, :wanted]
        return scored

    def _spectrogram(self, sound: Tensor, index: int) -> Tensor:
        """Log magnitudes (B, bands, T), windows centred at every 256th sample."""
        size, count = _WINDOWS[index], sound.shape[1] // _HOP
        frames = nn.functional.pad(sound, (size // 2, size // 2)).unfold(1, size, _HOP)[:, :count]
        spectrum = torch.fft.rfft(frames * self.windows[index])
        if fused.there(sound):
            # numpy is quicker with magnitudes, and of 64 entries of the filters 63 are zero.
            magnitudes = np.abs(spectrum.numpy()).reshape(-1, size // 2 + 1)
            found = torch.from_numpy(self._banks[index] @ np.ascontiguousarray(magnitudes.T))
            found = found.view(_BANDS, len(sound), count).transpose(0, 1)
        else:
            found = ((spectrum.real.square() + spectrum.imag.square()).sqrt() @ self.filters[index]).mT
        return torch.log(found + 1e-8)

    @cached_property
    def _banks(self) -> list[scipy.sparse.csr_array]:
        return [scipy.sparse.csr_array(bank.T.numpy()) for bank in self.filters]


class _Block(nn.Module):
    """A residual block of two convolutions over bands, dilated to a harmonic's distance, and frames."""

    def __init__(self, bands: tuple[int, int], frames: int) -> None:
        super().__init__()
        kernel, dilation = bands
        size, apart, padding = (kernel, frames), (dilation, 1), (kernel // 2 * dilation, frames // 2)
        self.first = nn.Conv2d(_CHANNELS, _CHANNELS, size, padding=padding, dilation=apart)
        self.second = nn.Conv2d(_CHANNELS, _CHANNELS, size, padding=padding, dilation=apart)

    def forward(self, x: Tensor) -> Tensor:
        if fused.there(x):
            first, second = self._packed
            return second.onto(x, first(x))
        return torch.relu(x + self.second(torch.relu(self.first(x))))

    @cached_property
    def _packed(self) -> tuple[fused.Conv2d, fused.Conv2d]:
        return fused.Conv2d(self.first, "relu"), fused.Conv2d(self.second, "relu")


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _network() -> SwiftF0Network:
    network = SwiftF0Network()
    network.load_state_dict(load_file(WEIGHTS))
    return network.eval().requires_grad_(False)


@lru_cache(maxsize=1)
def _log_hz() -> NDArray[np.float64]:
    """The pitches that are scored, as natural logs of Hz: (95,)."""
    return np.linspace(np.log(_LOWEST_HZ), np.log(_HIGHEST_HZ), _PITCHES)
