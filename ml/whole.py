"""Sound files that are written whole, or not at all.

On a full disk libsndfile only asserts that a write was short, and for FLAC does not even notice that its last block was
lost: what looks finished then ends too early. Needs no more than soundfile, as the decoding process does.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soundfile


class Writer(soundfile.SoundFile):  # type: ignore[misc]  # the library has no types
    """A file to write to, whose short writes raise OSError. `written` counts samples per channel."""

    written = 0

    def write(self, data: Any) -> None:
        """Writes `data` (n, channels). Raises OSError (ENOSPC) when not all of it could be written."""
        try:
            super().write(data)
        except (AssertionError, soundfile.LibsndfileError) as error:
            raise _cut(Path(str(self.name))) from error
        self.written += len(data)


@contextmanager
def create(path: Path, sample_rate: int, channels: int, subtype: str, container: str) -> Iterator[Writer]:
    """Yields a new file to write to; checks at the end that all of it is there. Raises OSError (ENOSPC) if not."""
    with Writer(path, "w", sample_rate, channels, subtype, format=container) as file:
        yield file
    require(path, file.written)


def require(path: Path, frames: int) -> None:
    """Raises OSError (ENOSPC) unless the file at `path` holds `frames` samples per channel, up to the last."""
    if not frames:  # what an empty FLAC file says of its length is that it is unknown
        return
    try:
        with soundfile.SoundFile(path) as file:
            whole = file.frames == frames and file.seek(frames - 1) == frames - 1 and len(file.read(1)) == 1
    except soundfile.LibsndfileError:
        whole = False
    if not whole:
        raise _cut(path)


def _cut(path: Path) -> OSError:
    return OSError(errno.ENOSPC, "The file could not be written whole", str(path))
