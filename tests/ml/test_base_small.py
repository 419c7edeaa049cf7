"""The base trained anew, by its commands, on a few minutes of real recordings: a small engine, but a working one."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ml.audio import frame_levels, load
from ml.conversion import convert
from ml.converters.base import ConvertOptions
from ml.converters.native import NativeConverter
from ml.decode import decode
from ml.engine import silent

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "speech"
MOST = {"librispeech": 20, "speechocean762": 96, "rhasspy_kathleen": 10, "rhasspy_kerstin": 6}
MOST_A_SPEAKER = {"librispeech": 1, "speechocean762": 2}
TAUGHT = 25
STEPS = {"content": 60, "speaker": 40, "enhancer": 30, "decoder": 110}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDINGS.exists(), reason="the training recordings are not beside the checkout"),
]


def ml_base(work: Path, data: Path, *arguments: str) -> str:
    """Runs one of the documented commands; returns what it printed."""
    command = [sys.executable, "-m", "ml.base", "--data", str(data), "--work", str(work), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first recordings of each corpus, few of each speaker, as links beside a manifest of their own."""
    root = tmp_path_factory.mktemp("corpus")
    with (RECORDINGS / "train" / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    taken: Counter[str] = Counter()
    kept = []
    for row in rows:
        name = row["path"].split("/", 1)[0]
        speaker = row["speaker_id"]
        if taken[name] < MOST.get(name, 0) and taken[speaker] < MOST_A_SPEAKER.get(name, MOST.get(name, 0)):
            taken.update([name, speaker])
            kept.append(row)
            link = root / row["path"]
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(RECORDINGS / "train" / row["path"])
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(kept)
    return root


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the weights that the documented commands made, and beside them what each training logged."""
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("weights")
    ml_base(work, corpus, "prepare", "--workers", "2")
    for network, steps in STEPS.items():
        judged = ["--judged-from", "90"] if network == "decoder" else []
        ml_base(work, corpus, "train", network, "--steps", str(steps), *judged)
        if network == "content":
            ml_base(work, corpus, "teach")
            ml_base(work, corpus, "train", network, "--steps", str(steps + TAUGHT), "--taught-from", str(steps))
    ml_base(work, corpus, "evaluate")
    ml_base(work, corpus, "export", "--out", str(out), "--version", "small")
    for log in work.glob("*.jsonl"):
        (out / log.name).write_text(log.read_text())
    return out


def logged(trained: Path, name: str) -> list[dict[str, float]]:
    """What a training logged, every 25 steps the means since."""
    return [json.loads(line) for line in (trained / f"{name}.jsonl").read_text().splitlines()]


def test_every_network_learns(trained: Path) -> None:
    content, decoder = logged(trained, "content"), logged(trained, "decoder")
    assert content[1]["phones"] < content[0]["phones"] and content[-1]["distance"] < 0.9
    bridge = logged(trained, "bridge")
    assert bridge[-1]["distance"] < 0.5 * bridge[0]["distance"]
    assert decoder[2]["spectra"] < decoder[0]["spectra"]
    assert logged(trained, "speaker")[-1]["right"] > 0.2  # of 28 speakers
    enhancer = logged(trained, "enhancer")[-1]
    assert enhancer["loss"] < enhancer["untouched"]
    found = json.loads((trained / "card.json").read_text())["evaluation"]
    assert found["held_out_phone_frame_accuracy"] > 0.2  # silence alone would be about a fifth
    assert found["held_out_spectral_loss"] < 1.3


def test_it_converts_speech_into_an_instant_voice(trained: Path, tmp_path: Path) -> None:
    converter = NativeConverter(trained)
    target, source = tmp_path / "target.flac", tmp_path / "source.flac"
    speech = RECORDINGS / "dev" / "speech"
    decode(sorted((speech / "ljspeech").iterdir())[0].resolve(), target, mono=True)
    decode(sorted((speech / "libri_1688").iterdir())[0].resolve(), source, mono=True)
    converter.instant([target], tmp_path / "small.voice", silent)
    voice = converter.open(tmp_path / "small.voice")
    options = ConvertOptions(sample_rate=16_000)
    result = convert(
        voice,
        source,
        tmp_path / "out.wav",
        options=options,
        clean=converter.clean,
        embed=converter.embed,
        report=silent,
    )
    made, rate = load(tmp_path / "out.wav")
    before, _ = load(source, 16_000)
    assert rate == 16_000 and len(made) == round(len(before)) and np.isfinite(made).all()
    assert result.metrics["f0_correlation"] > 0.9
    assert result.pitch > 3  # a man's speech in a woman's voice
    levels = [frame_levels(sound, 16_000) for sound in (before, made)]
    assert np.corrcoef(*levels)[0, 1] > 0.7
