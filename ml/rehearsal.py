"""What a voice's takes do not teach is rehearsed: the base's own way to say what others said, kept during a fine-tune.

A minute of speech holds few of the sounds in few of their surroundings, and a decoder that is fitted to it forgets the
rest: phones grow unclear. So in every step it also says something of the base's lenders, and is held to what the base
makes of it in the same voice, up to a constant for each band: colour is the voice's to choose, what changes from sound
to sound is to stay. As in learning without forgetting (Li and Hoiem, 2016), with speech that is there instead of new.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ml.config import FRAME_RATE
from ml.converters.base import VoiceTraits
from ml.convnext import fast_precision
from ml.decoder import Decoder, Gains, band_centres
from ml.device import on_device
from ml.weights import Base

CLIPS, FRAMES = 2, FRAME_RATE
LOUD_DB = 30.0


class Rehearsal:
    """The lenders' speech in the pitch and at the level of a voice, in clips, and what the base makes of it."""

    def __init__(self, base: Base, traits: VoiceTraits, seed: int) -> None:
        content, pitch, level = (
            torch.stack([getattr(lender, name) for lender in base.lenders]) for name in ("content", "f0", "loudness")
        )
        voiced, sizes = pitch > 0, base.config.decoder
        self.content = _clips(content)
        self.f0 = _clips(pitch * (traits.f0_median_hz / _medians(pitch, voiced)))
        self.loudness = _clips(level + (traits.level_db - _medians(level, voiced)))
        self.loud = (self.loudness > traits.level_db - LOUD_DB).float()
        self.speaker = on_device(np.array(traits.embedding, np.float32))[None]
        noise = np.random.default_rng([seed, 11]).standard_normal((*self.f0.shape, sizes.noise_channels))
        self.noise = on_device(noise.astype(np.float32))
        self.bands = [
            (band_centres(count, sizes.top_hz) < 0.97 * traits.bandwidth_hz).float()
            for count in (sizes.harmonic_bands, sizes.noise_bands)
        ]
        with torch.no_grad(), fast_precision():
            said = [self._said(base.decoder, part) for part in torch.split(torch.arange(len(self.content)), CLIPS)]
        self.known = Gains(torch.cat([one.harmonic for one in said]), torch.cat([one.noise for one in said]))

    def drawn(self, generator: np.random.Generator) -> Tensor:
        """Which clips to rehearse, CLIPS of them."""
        return torch.from_numpy(generator.integers(0, len(self.content), CLIPS))

    def distance(self, decoder: Decoder, which: Tensor) -> Tensor:
        """How far `decoder` is from the base on the clips `which`: mean difference of log-gains over loud frames, up to
        a constant for each band. Voiced frames count for the pulses, all of them for the noise."""
        made, loud = self._said(decoder, which), self.loud[which]
        voiced = loud * (self.f0[which] > 0)
        return _apart(made.harmonic - self.known.harmonic[which], voiced, self.bands[0]) + _apart(
            made.noise - self.known.noise[which], loud, self.bands[1]
        )

    def _said(self, decoder: Decoder, which: Tensor) -> Gains:
        said: Gains = decoder(
            self.content[which],
            self.f0[which],
            self.loudness[which],
            self.speaker.expand(len(which), -1),
            self.noise[which],
        )
        return said


def _clips(rows: Tensor) -> Tensor:
    """(lenders, T, ...) -> (clips, FRAMES, ...)."""
    whole = rows.shape[1] // FRAMES * FRAMES
    return rows[:, :whole].reshape(-1, FRAMES, *rows.shape[2:])


def _medians(values: Tensor, where: Tensor) -> Tensor:
    """The median of each row of (B, T) over the frames `where`, (B, 1)."""
    return torch.where(where, values, torch.nan).nanmedian(1, keepdim=True).values


def _apart(difference: Tensor, frames: Tensor, bands: Tensor) -> Tensor:
    """Mean magnitude of (B, T, bands) less each band's mean, over `frames` (B, T) and `bands` that are 1, not 0."""
    weight = frames[..., None] * bands
    mean = (difference * weight).sum((0, 1)) / weight.sum((0, 1)).clamp_min(1.0)
    return ((difference - mean).abs() * weight).sum() / weight.sum().clamp_min(1.0)
