"""What is said in a source: a track of rows beside its pitch and level, on disk, for an hour of it is 46 MB.

It is heard in windows that overlap, on a grid of their own, so that it does not hang on where the source is cut later.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ml.audio import Samples, fit, read_span
from ml.config import ANALYSIS_HOP
from ml.parallel import in_order

Array = NDArray[np.float32]

WINDOW = 1200  # frames of a window, half as many more where the source is not longer than that
AROUND = 100  # frames on each side that are heard besides
BLEND = 10  # frames on each side of a border over which one window goes over into the next


@dataclass(frozen=True)
class Track:
    """Rows (`frames`, `width`) in half precision in the file `path`."""

    path: Path
    frames: int
    width: int

    def rows(self, first: int, last: int) -> Array:
        """Rows `first` to `last`, (last - first, width); after the end the last one again."""
        count = max(0, min(last, self.frames) - first)
        found = np.fromfile(self.path, np.float16, count * self.width, offset=2 * first * self.width)
        rows = found.astype(np.float32).reshape(count, self.width)
        return np.concatenate([rows, np.repeat(rows[-1:], last - first - count, axis=0)])


def write(
    path: Path,
    source: Path,
    frames: int,
    hear: Callable[[Samples], Array],
    report: Callable[[float], None],
    threads: int,
) -> Track:
    """Hears the mono file `source` of `frames` frames at ANALYSIS_RATE, as many windows at once as `threads`.

    `hear` gives the rows (1 + n // ANALYSIS_HOP, width) of n samples.
    """
    windows = max(1, round(frames / WINDOW))
    borders = [round(frames * at / windows) for at in range(windows + 1)]

    def heard(which: int) -> Array:
        low, high = max(0, borders[which] - BLEND), min(frames, borders[which + 1] + BLEND)
        first, last = max(0, low - AROUND), min(frames, high + AROUND)
        samples = read_span(source, first * ANALYSIS_HOP, last * ANALYSIS_HOP)
        return hear(fit(samples, (last - first) * ANALYSIS_HOP))[low - first : high - first]

    width, ramp, held = 0, ((np.arange(2 * BLEND) + 0.5) / (2 * BLEND)).astype(np.float32)[:, None], None
    with path.open("wb") as file, closing(in_order(heard, range(windows), threads)) as found:
        for which, rows in enumerate(found):
            width = rows.shape[1]
            if held is not None:
                rows[: 2 * BLEND] = held + ramp * (rows[: 2 * BLEND] - held)
            end = len(rows) if which == windows - 1 else len(rows) - 2 * BLEND
            held = rows[end:]
            file.write(rows[:end].astype(np.float16).tobytes())
            report((which + 1) / windows)
    return Track(path, frames, width)
