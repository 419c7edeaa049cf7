"""An hour in one go: as long to the sample, in the memory that a minute takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.sounds import speech

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
RATE = 16_000
CONVERT = """
import json, resource, sys
from pathlib import Path
from ml.engine import ConvertOptions, Engine
voice, source, out = map(Path, sys.argv[1:])
result = Engine().convert(voice, source, out, options=ConvertOptions(preset="fast"))
print(json.dumps({"samples": result.samples, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def recording(path: Path, samples: int) -> Path:
    """Half a minute of speech again and again, with a second of silence between."""
    turn = np.concatenate([speech(29.0, rate=RATE), np.zeros(RATE, np.float32)])
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for start in range(0, samples, len(turn)):
            file.write(turn[: samples - start])
    return path


def test_an_hour_is_exact_to_the_sample_and_takes_little_more_memory_than_a_minute(tmp_path: Path) -> None:
    from ml.engine import Engine

    take = recording(tmp_path / "take.wav", 12 * RATE)
    Engine(threads=1).instant([take], tmp_path / "made.voice")
    found = {}
    for name, samples in (("minute", 60 * RATE), ("hour", 3600 * RATE + 7)):
        source, out = recording(tmp_path / f"{name}.flac", samples), tmp_path / f"{name}-out.wav"
        command = [sys.executable, "-c", CONVERT, str(tmp_path / "made.voice"), str(source), str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-2000:]
        found[name] = json.loads(done.stdout)
        assert found[name]["samples"] == soundfile.info(out).frames == samples
    # Ten bytes or so per frame of 10 ms, and what the allocator keeps.
    assert found["hour"]["mib"] - found["minute"]["mib"] < 120, found
    end, _ = soundfile.read(tmp_path / "hour-out.wav", start=3599 * RATE + RATE // 2)
    before, _ = soundfile.read(tmp_path / "hour-out.wav", start=3590 * RATE, stop=3595 * RATE)
    assert np.abs(before).max() > 0.01 and np.abs(end).max() < 1e-3
