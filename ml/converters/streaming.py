"""What a voice is to a stream: the options, what one hop hears, and what it must give back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

HOP_FRAMES = 5
"""Frames that a stream goes on by: 50 ms, so that 100 ms always cost two hops."""
LOOK_AHEAD_FRAMES = 7
"""Frames after those of the hop that are heard already; the next hop hears them again."""
WINDOW_FRAMES = HOP_FRAMES + LOOK_AHEAD_FRAMES
MARGIN_FRAMES = 4
"""Frames before those of the hop whose samples a window has too, for the windows of its first spectra."""


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is converted.

    `pitch`: semitones up (+) or down (-), -24..24, or "auto": to the voice's range, by the running median of what was
    heard. `retrieval`: 0..1, how far the content moves to the nearest sounds of the voice's own recordings, and its
    loudness to theirs.
    """

    pitch: float | Literal["auto"] = "auto"
    retrieval: float = 0.7
    preset: str = "balanced"
    seed: int = 0


@dataclass(frozen=True)
class Window:
    """What one hop hears: HOP_FRAMES new frames and LOOK_AHEAD_FRAMES that are to come again.

    `samples` at ANALYSIS_RATE begin MARGIN_FRAMES before the first new frame and end with the mel window of the last
    frame; `f0` (WINDOW_FRAMES,) in Hz is transposed already, 0 where unvoiced; `loudness` (WINDOW_FRAMES,) in dB is
    the source's, A-weighted; `gain_db` is what to add to it.
    """

    samples: NDArray[np.float32]
    f0: NDArray[np.float32]
    loudness: NDArray[np.float32]
    gain_db: float


class VoiceStream(ABC):
    """A voice in the middle of one stream."""

    delay: int
    """Samples by which the sound comes later than the frames that it belongs to."""

    most_windows = 1
    """How many windows may be given at once, with the same sound to the bit."""

    @abstractmethod
    def render(self, windows: Sequence[Window]) -> NDArray[np.float32]:
        """The sound of the next windows, HOP_FRAMES each: (len(windows) * HOP_FRAMES * samples per frame,)."""
