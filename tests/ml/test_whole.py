"""A sound file is written whole, or the writing fails: whatever byte the disk ends at."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ml import whole
from ml.encoding import SUFFIXES, write
from tests.sounds import speech

# In a process of its own, whose files may not grow beyond a limit: as on a disk that is full from there on.
SCRIPT = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from ml.encoding import write
folder, kind, most = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
samples = np.load(folder / "samples.npy")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    write(folder / sys.argv[4], kind, 24_000, 1, [samples[:, None]])
except OSError as error:
    sys.exit(7)
"""


@pytest.mark.parametrize("kind", ["wav16", "flac", "mp3", "ogg", "m4a"])
@pytest.mark.parametrize("missing", [1, 100, 3000])
def test_a_disk_that_ends_early_is_noticed_and_leaves_nothing(tmp_path: Path, kind: str, missing: int) -> None:
    samples = speech(2.0, rate=24_000).astype(np.float32)
    np.save(tmp_path / "samples.npy", samples)
    whole_file, cut = tmp_path / f"whole{SUFFIXES[kind]}", f"cut{SUFFIXES[kind]}"
    write(whole_file, kind, 24_000, 1, [samples[:, None]])
    most = whole_file.stat().st_size - missing
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path), kind, str(most), cut], timeout=60)
    assert done.returncode == 7
    assert not (tmp_path / cut).exists()


@pytest.mark.parametrize("frames", [1, 4095, 4096, 4097, 30_000])
@pytest.mark.parametrize(("suffix", "container", "subtype"), [(".wav", "WAV", "FLOAT"), (".flac", "FLAC", "PCM_24")])
def test_what_is_whole_passes(tmp_path: Path, frames: int, suffix: str, container: str, subtype: str) -> None:
    path = tmp_path / f"sound{suffix}"
    with whole.create(path, 24_000, 1, subtype, container) as file:
        file.write(np.linspace(-0.5, 0.5, frames, dtype=np.float32))
    assert len(soundfile.read(path)[0]) == frames


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_what_was_cut_does_not_pass(tmp_path: Path, share: float) -> None:
    path = tmp_path / "sound.flac"
    soundfile.write(path, speech(2.0, rate=24_000), 24_000)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(OSError) as raised:
        whole.require(path, 48_000)
    assert raised.value.errno == errno.ENOSPC
