"""What is said in a recording, heard by the encoder of a speech recogniser: content for files and for voices' takes.

The recogniser is Moonshine (Jeffries et al., 2024), tiny and English, with its authors' weights (MIT licence): it was
trained on some 200,000 hours, so it knows sounds of speech far better than our seven hours can teach them. A *bridge*
of ours says what of it is content as the decoder knows it; `ml/base/teaching.py` trains it. A recogniser hears seconds
before and after a sound, for which a stream cannot wait: streams have the encoder of `ml/content.py`, which learnt from
this one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ml.config import ANALYSIS_HOP, ModelConfig
from ml.convnext import fast_precision

WIDTH, LAYERS, HEADS, ROTATED, EXPANSION = 288, 6, 8, 32, 4
HEARD = (4, 5, 6)
"""Which layers' outputs the bridge is given: phones were best told from the fifth's, then from these."""
HOP = 64 * 3 * 2
BEFORE, AFTER = 1600, 3200
"""Samples of silence before and after what is heard."""
_CENTRE = 63 + 3 * 64 + 3 * 64
"""The sample at the middle of what the first frame hears."""
_BRIDGE_WIDTH = 256
_INTEGERS, _SCALE, _ZERO = ".integers", ".scale", ".zero"


class Attention(nn.Module):
    """Self-attention of a sound's frames (B, T, WIDTH), with rotary position embeddings (Su et al., 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        batch, frames, _ = x.shape
        query, key, value = (
            layer(x).float().view(batch, frames, HEADS, -1).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = nn.functional.scaled_dot_product_attention(_turned(query, turn), _turned(key, turn), value)
        out: Tensor = self.o_proj(seen.transpose(1, 2).reshape(batch, frames, WIDTH))
        return out


class Perceptron(nn.Module):
    """Two layers, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, EXPANSION * WIDTH), nn.Linear(EXPANSION * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(nn.functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """One layer of the encoder, normalised before each part (B, T, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(WIDTH, bias=False)
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.LayerNorm(WIDTH, bias=False)
        self.mlp = Perceptron()

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), turn)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Recogniser(nn.Module):
    """Moonshine's encoder: samples (B, N) at ANALYSIS_RATE -> what each layer puts out, (B, frames of HOP, WIDTH)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(1, WIDTH, 127, stride=64, bias=False)
        self.groupnorm = nn.GroupNorm(1, WIDTH)
        self.conv2 = nn.Conv1d(WIDTH, 2 * WIDTH, 7, stride=3)
        self.conv3 = nn.Conv1d(2 * WIDTH, WIDTH, 3, stride=2)
        self.layers = nn.ModuleList(Block() for _ in range(LAYERS))
        self.layer_norm = nn.LayerNorm(WIDTH, bias=False)

    def forward(self, samples: Tensor) -> list[Tensor]:
        x = self.groupnorm(torch.tanh(self.conv1(samples[:, None])))
        x = nn.functional.gelu(self.conv3(nn.functional.gelu(self.conv2(x)))).transpose(1, 2).float()
        found, turn = [x], _turns(x.shape[1], x.device)
        for layer in self.layers:
            x = layer(x, turn).float()
            found.append(x)
        return [*found[:-1], self.layer_norm(x)]

    def heard(self, samples: Tensor) -> Tensor:
        """The HEARD layers of samples (B, N), silence before and after them, each normalised, side by side:
        (B, frames of HOP, 3 * WIDTH). Differentiable in the samples."""
        layers = self(nn.functional.pad(samples, (BEFORE, AFTER)))
        return torch.cat([nn.functional.layer_norm(layers[which], (WIDTH,)) for which in HEARD], dim=-1)


class Bridge(nn.Module):
    """The recogniser's layers (B, T, layers * WIDTH), at our frames -> content (B, T, dimensions)."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.enter = nn.Linear(len(HEARD) * WIDTH, _BRIDGE_WIDTH)
        self.around = nn.Conv1d(_BRIDGE_WIDTH, _BRIDGE_WIDTH, 5, padding=2)
        self.leave = nn.Linear(_BRIDGE_WIDTH, dimensions)

    def forward(self, heard: Tensor) -> Tensor:
        x = nn.functional.gelu(self.enter(heard))
        x = x + nn.functional.gelu(self.around(x.transpose(1, 2)).transpose(1, 2))
        return nn.functional.layer_norm(self.leave(x).float(), (self.leave.out_features,))


class Hearing(nn.Module):
    """Recogniser and bridge in one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.recogniser, self.bridge = Recogniser(), Bridge(config.content.dimensions)

    @torch.no_grad()
    def heard(self, samples: Tensor, frames: int, speed: float = 1.0) -> Tensor:
        """The HEARD layers of samples (B, N) at ANALYSIS_RATE, each normalised, side by side: (B, frames, 3 * WIDTH).

        Between two frames of the recogniser's it goes in a straight line from one to the other. What is played `speed`
        times as fast is given at the frames that it has at its own speed.
        """
        rows = self.recogniser.heard(samples)
        place = (torch.arange(frames) * (ANALYSIS_HOP / speed) + BEFORE - _CENTRE) / HOP
        first = place.floor().long().clamp(0, rows.shape[1] - 2)
        share = (place - first).clamp(0, 1)[:, None]
        return torch.lerp(rows[:, first], rows[:, first + 1], share)

    @torch.no_grad()
    def encode(self, samples: Tensor, frames: int | None = None, speed: float = 1.0) -> Tensor:
        """Content (B, T, dimensions) of samples (B, N); T is `frames` or 1 + N // ANALYSIS_HOP, `speed` see `heard`."""
        with fast_precision():
            heard = self.heard(samples, 1 + samples.shape[-1] // ANALYSIS_HOP if frames is None else frames, speed)
            z: Tensor = self.bridge(heard)
        return z


def packed(tensors: Mapping[str, Tensor], integers: Mapping[str, tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
    """Weights to be stored: numbers in half precision, and `integers` (values, scale, zero) as they are."""
    found = {name: value.half() for name, value in tensors.items() if name not in integers}
    for name, parts in integers.items():
        found |= dict(zip((name + _INTEGERS, name + _SCALE, name + _ZERO), parts, strict=True))
    return found


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` stored, as numbers."""
    found = {name: value for name, value in stored.items() if not name.endswith((_INTEGERS, _SCALE, _ZERO))}
    for name in [name.removesuffix(_INTEGERS) for name in stored if name.endswith(_INTEGERS)]:
        found[name] = (stored[name + _INTEGERS].float() - stored[name + _ZERO].float()) * stored[name + _SCALE]
    return found


def _turns(frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines (frames, ROTATED) of the angles by which queries and keys are turned."""
    speeds = 1 / 10000 ** (torch.arange(0, ROTATED, 2, device=device) / ROTATED)
    angles = (torch.arange(frames, device=device)[:, None] * speeds).repeat_interleave(2, -1)
    return angles.cos(), angles.sin()


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, T, width) with the first ROTATED numbers of each turned by their frame's angles, pair by pair."""
    head, rest = x[..., :ROTATED], x[..., ROTATED:]
    beside = torch.stack([-head[..., 1::2], head[..., 0::2]], -1).flatten(-2)
    return torch.cat([head * turn[0] + beside * turn[1], rest], -1)
