"""What an audio file is, found from its bytes in a child process with limits; light, without torch.

The child (`python -m ml.decode`) reads the whole file, because the worst files lie in their headers; what
it has decoded it throws away.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.errors import AudioError, EngineError

_ROOT = Path(__file__).resolve().parent.parent
_REPORT_BYTES = 64 * 1024

AUDIO_ERROR_STATUS = 3


@dataclass(frozen=True)
class Limits:
    """What one file may cost, and what it may hold.

    `bytes` is the size of the file itself, `seconds` the length of the sound; `cpu_seconds`, `memory_bytes`
    (address space) and `wall_seconds` bind the child process, `out_bytes` the file that it writes.
    """

    bytes: int = 100 * 1024 * 1024
    seconds: float = 3600.0
    cpu_seconds: int = 60
    memory_bytes: int = 1024 * 1024 * 1024
    wall_seconds: float = 120.0
    out_bytes: int = 4 * 1024 * 1024 * 1024


@dataclass(frozen=True)
class AudioInfo:
    """A file that can be used: its container and codec, length in seconds, rate in hertz, 1 or 2 channels."""

    container: str
    codec: str
    duration: float
    sample_rate: int
    channels: int


def probe(path: Path, *, limits: Limits | None = None) -> AudioInfo:
    """Decodes `path` from end to end in a limited child process and says what it is.

    The name of the file is never looked at. Raises AudioError with one sentence for the user when the file
    is no audio, damaged, outside `limits`, silent, or costs too much to decode.
    """
    return run_limited(path, None, limits=limits or Limits(), sample_rate=None, mono=False)


def run_limited(path: Path, out: Path | None, *, limits: Limits, sample_rate: int | None, mono: bool) -> AudioInfo:
    """Runs the decoding child on `path`, writing to `out` when one is given; see `ml.decode.decode`.

    Raises AudioError for the user's file, EngineError when the child itself is at fault.
    """
    _check_file(path, limits)
    request = {
        "path": str(path.absolute()),
        "out": str(out.absolute()) if out else None,
        "limits": asdict(limits),
        "sample_rate": sample_rate,
        "mono": mono,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ml.decode"],
            input=json.dumps(request).encode(),
            capture_output=True,
            cwd=_ROOT,
            env=_environment(),
            timeout=limits.wall_seconds,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AudioError(_TOO_COSTLY) from None
    return _read_answer(done)


_TOO_COSTLY = "Decoding this file takes more time than a file may cost; export it again as WAV or FLAC."
# Python's words, the system's, and the loader's for a library that had no room left.
_SHORT_OF_MEMORY = (b"MemoryError", b"Cannot allocate memory", b"failed to map segment")
_TOO_MUCH_MEMORY = "Decoding this file takes more memory than a file may cost; export it again as WAV or FLAC."


def _check_file(path: Path, limits: Limits) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        raise AudioError("The file is not there; choose it again.") from None
    if stat.S_ISLNK(status.st_mode):
        raise AudioError("This is a link to a file; send the audio file itself.")
    if stat.S_ISDIR(status.st_mode):
        raise AudioError("This is a folder; choose the audio files inside it.")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("This is no ordinary file; choose an audio file.")
    if status.st_size == 0:
        raise AudioError("The file is empty; record or export it again.")
    if status.st_size > limits.bytes:
        raise AudioError(
            f"The file has {status.st_size / 2**20:.0f} MB; at most {limits.bytes / 2**20:.0f} MB are accepted, "
            "so split it or export it as FLAC or MP3."
        )


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "SYSTEMROOT") if name in os.environ}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _read_answer(done: subprocess.CompletedProcess[bytes]) -> AudioInfo:
    answer = done.stdout[:_REPORT_BYTES].decode("utf-8", "replace")
    if done.returncode == 0:
        return AudioInfo(**json.loads(answer))
    if done.returncode == AUDIO_ERROR_STATUS:
        raise AudioError(answer)
    if done.returncode == -24:  # SIGXCPU
        raise AudioError(_TOO_COSTLY)
    if done.returncode in (
        -6,
        -9,
        -11,
    ):  # abort, kill, segmentation fault: what native code does without memory
        raise AudioError("This file breaks the decoder; export it again as WAV or FLAC.")
    if any(words in done.stderr for words in _SHORT_OF_MEMORY):
        raise AudioError(_TOO_MUCH_MEMORY)
    reason = done.stderr[-2000:].decode("utf-8", "replace")
    raise EngineError(f"the decoding process ended with status {done.returncode}: {reason}")
