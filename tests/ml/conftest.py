"""Voices and takes made once a session: training is the dear part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

from ml.engine import Engine, TrainOptions
from tests.sounds import speech

STEPS = {"toy": 20, "native": 2}


@dataclass(frozen=True)
class Made:
    """An engine, a voice trained by it, and the takes that it was trained on."""

    engine: Engine
    voice: Path
    takes: list[Path]


def write_speech(path: Path, seconds: float, rate: int = 16_000, f0: float = 140.0, seed: int = 0) -> Path:
    """Speech-like sound as a file; returns `path`."""
    soundfile.write(path, speech(seconds, rate=rate, f0=f0, seed=seed), rate, subtype="PCM_24")
    return path


@pytest.fixture(scope="session")
def takes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three takes of four seconds."""
    folder = tmp_path_factory.mktemp("takes")
    return [write_speech(folder / f"take-{n}.flac", 4.0, 24_000, 180.0, n) for n in range(3)]


@pytest.fixture(scope="session", params=["toy", "native"])
def made(request: pytest.FixtureRequest, takes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Every converter of the catalogue goes through the tests that use this."""
    folder = tmp_path_factory.mktemp(request.param)
    engine = Engine(converter=request.param, threads=1)
    options = TrainOptions(preset="fast", steps=STEPS[request.param])
    engine.train(takes, folder / "made.voice", options=options, workdir=folder / "work")
    return Made(engine, folder / "made.voice", takes)
