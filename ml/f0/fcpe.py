"""FCPE: a network of convolutions over log-mels, with the weights that its authors' package carries."""

from __future__ import annotations

import re
from functools import lru_cache

import librosa.filters
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml.device import on_device, to_array
from ml.f0 import HOP, RATE, F0Track, bundled, classes
from ml.f0.periodicity import confirmed

_BANDS, _WINDOW, _WIDTH, _BLOCKS, _KERNEL = 128, 1024, 512, 6, 31
_CENTS = np.linspace(1200 * np.log2(3.27), 1200 * np.log2(197.55), 360)
_VOICED, _SURE = 0.006, 0.05


def fcpe(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """FCPE as `listen` has it, but white noise, of which it is a little confident, is unvoiced."""
    return confirmed(listen(samples, minimum_hz, maximum_hz), samples, _SURE)


def listen(samples: NDArray[np.float32], minimum_hz: float, maximum_hz: float) -> F0Track:
    """FCPE (Luo et al., 2025: Fast Context-based Pitch Estimation), the convolutional network of torchfcpe 0.0.4.

    `samples` (N,) at 16 kHz -> 1 + N // 160 frames, voiced above the authors' threshold, 0.006.
    """
    with torch.inference_mode():
        activation = to_array(_network()(_log_mel(on_device(samples))[None])[0])
    activation = classes.within(activation, _CENTS, minimum_hz, maximum_hz)
    return classes.track(activation, activation.argmax(axis=1), _CENTS, _VOICED)


class _Block(nn.Module):
    """Gated depth-wise convolution with a residual, (B, T, 512) -> (B, T, 512), after Conformer (Gulati, 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_WIDTH)
        self.expand = nn.Conv1d(_WIDTH, 4 * _WIDTH, 1)
        self.depthwise = nn.Conv1d(2 * _WIDTH, 2 * _WIDTH, _KERNEL, padding=_KERNEL // 2, groups=2 * _WIDTH)
        self.contract = nn.Conv1d(2 * _WIDTH, _WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.glu(self.expand(self.norm(x).transpose(1, 2)), dim=1)
        y = self.contract(nn.functional.silu(self.depthwise(y)))
        out: Tensor = x + y.transpose(1, 2)
        return out


class _Network(nn.Module):
    """Log-mels (B, T, 128) -> activations (B, T, 360) in 0..1."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Sequential(
            nn.Conv1d(_BANDS, _WIDTH, 3, padding=1),
            nn.GroupNorm(4, _WIDTH),
            nn.LeakyReLU(),
            nn.Conv1d(_WIDTH, _WIDTH, 3, padding=1),
        )
        self.blocks = nn.Sequential(*(_Block() for _ in range(_BLOCKS)))
        self.norm = nn.LayerNorm(_WIDTH)
        self.exit = nn.Linear(_WIDTH, len(_CENTS))

    def forward(self, mels: Tensor) -> Tensor:
        hidden = self.blocks(self.entry(mels.transpose(1, 2)).transpose(1, 2))
        return torch.sigmoid(self.exit(self.norm(hidden)))


_PARTS = {"0": "norm", "2": "expand", "4.conv": "depthwise", "6": "contract"}


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _network() -> _Network:
    path = bundled("torchfcpe", "assets/fcpe_c_v001.pt")
    found: dict[str, Tensor] = torch.load(path, map_location=torch.get_default_device(), weights_only=True)["model"]
    weights = {}
    for name, value in found.items():
        if part := re.fullmatch(r"net\.encoder_layers\.(\d)\.conformer\.net\.(0|2|4\.conv|6)\.(weight|bias)", name):
            weights[f"blocks.{part[1]}.{_PARTS[part[2]]}.{part[3]}"] = value
        elif name.startswith(("input_stack.", "norm.")):
            weights[name.replace("input_stack", "entry")] = value
    direction = found["output_proj.weight_v"]
    weights["exit.weight"] = found["output_proj.weight_g"] * direction / direction.norm(dim=1, keepdim=True)
    weights["exit.bias"] = found["output_proj.bias"]
    network = _Network()
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _filters() -> Tensor:
    return on_device(librosa.filters.mel(sr=RATE, n_fft=_WINDOW, n_mels=_BANDS, fmin=0, fmax=RATE / 2))


def _log_mel(samples: Tensor) -> Tensor:
    """Natural log of mel amplitudes (T, 128) of (N,), as FCPE was trained on: Slaney's bands, floor ln(1e-5)."""
    left = (_WINDOW - HOP) // 2
    right = max((_WINDOW - HOP + 1) // 2, _WINDOW - len(samples) - left)
    mode = "reflect" if right < len(samples) else "constant"
    padded = nn.functional.pad(samples[None, None], (left, right), mode=mode)[0]
    window = torch.hann_window(_WINDOW)
    spectrum = torch.stft(padded, _WINDOW, HOP, window=window, center=False, return_complex=True)[0]
    magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)
    mels = torch.log((_filters() @ magnitude).clamp_min(1e-5)).T
    # Padding leaves N // 160 frames: its authors repeat the last for the sound's end.
    frames = 1 + len(samples) // HOP
    return torch.cat([mels, mels[-1:].expand(max(0, frames - len(mels)), -1)])[:frames]
