"""What a conversion hears in its source: pitch, level and loudness of the voice, without its noise and room.

All in blocks with context on both sides, so that memory grows by a few bytes a frame only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml import f0, whole
from ml.audio import Samples, blocks, frame_levels, read_span
from ml.config import ANALYSIS_HOP, ANALYSIS_RATE
from ml.converters.base import Report
from ml.device import on_device, to_array
from ml.enhancement import loud_power
from ml.parallel import in_order
from ml.rendering import Heard
from ml.spectral import LOUDNESS_FLOOR_DB, loudness

Array = NDArray[np.float32]
Clean = Callable[[Samples, float, float], Samples]
"""As `ml.converters.base.Converter.clean`."""

# The margin holds the enhancer's 63 frames and its window; both are multiples of 8 frames, SwiftF0's grid of 80 ms.
_BLOCK_FRAMES, _MARGIN_FRAMES = 1200, 72


def listen(
    source: Path, scratch: Path, f0_method: str, denoise: float, clean: Clean, report: Report, threads: int
) -> Heard:
    """Hears `source` (WAV or FLAC) on `threads` threads; its sound is left in the file `scratch` at ANALYSIS_RATE.

    Pitch, level and loudness are those of the sound cleaned by `denoise` (0..1). The sound itself stays as it is: the
    content encoder was trained on noisy speech, and finds fewer phones in a cleaned one.
    """
    levels = [np.full(1, LOUDNESS_FLOOR_DB, np.float32)]
    with whole.create(scratch, ANALYSIS_RATE, 1, "FLOAT", "WAV") as file:
        for part in blocks(source, ANALYSIS_RATE):
            file.write(part)
            levels.append(frame_levels(part, ANALYSIS_RATE))
        written = file.tell()
    loud = loud_power(np.concatenate(levels))
    frames = 1 + written // ANALYSIS_HOP

    def hear(start: int) -> tuple[Array, Array, Array]:
        end, first = min(start + _BLOCK_FRAMES, frames), max(0, start - _MARGIN_FRAMES)
        samples = read_span(scratch, first * ANALYSIS_HOP, (end + _MARGIN_FRAMES) * ANALYSIS_HOP)
        voice = clean(samples, denoise, loud)
        inner = slice(start - first, end - first)
        track = f0.extract(voice, ANALYSIS_RATE, f0_method).f0
        return (
            track[inner],
            frame_levels(voice, ANALYSIS_RATE)[inner],
            to_array(loudness(on_device(voice)[None])[0])[inner],
        )

    heard = []
    with closing(in_order(hear, range(0, frames, _BLOCK_FRAMES), threads)) as found:
        for block in found:
            heard.append(block)
            report(min(1.0, len(heard) * _BLOCK_FRAMES / frames), "Listening to the source")
    tracks, own_levels, louds = (np.concatenate(parts) for parts in zip(*heard, strict=True))
    return Heard(scratch, written, tracks, own_levels, louds)
