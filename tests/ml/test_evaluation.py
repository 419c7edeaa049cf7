"""What is evaluated on what, by whom, and how figures are averaged."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from ml.corpora import TRAINING_SECONDS, development_trials, held_out_trials, singing
from ml.engine import EngineError
from ml.evaluation import _mean, as_text, run
from ml.judges import RATE, Judges, edit_distance
from ml.metrics import cosine
from tests.ml.conftest import Made, write_speech
from tests.sounds import speech

COLUMNS = ["path", "speaker_id", "sex", "duration_s", "transcript", "role"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A manifest of two targets with sources of their own, a source only, and a singer; no sound."""
    rows = []
    for speaker, sex, roles in (("anna", "F", "TTTTTTTTSS"), ("bert", "M", "TTTTTTTTSS"), ("cleo", "F", "SSS")):
        for number, role in enumerate(roles):
            name = {"T": "target", "S": "source"}[role]
            rows.append([f"{speaker}-{number}.flac", speaker, sex, "12.0", f"words of {speaker} {number}", name])
    rows.append(["song.flac", "dora", "", "30.0", "la la", "singing"])
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return tmp_path


def test_training_testing_and_sources_never_share_a_recording(corpus: Path) -> None:
    trials = development_trials(corpus)
    assert [trial.name for trial in trials] == ["anna", "bert"]
    for trial in trials:
        parts = [{clip.path for clip in part} for part in (trial.training, trial.testing, trial.sources)]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        assert all(parts) and sum(clip.seconds for clip in trial.training) <= TRAINING_SECONDS
        assert trial.name not in {clip.speaker for clip in trial.sources}
        assert {"F", "M"} <= {clip.sex for clip in trial.sources} | {trial.sex}
        assert all(clip.speaker == trial.name for clip in trial.training + trial.testing)


def test_the_number_of_sources_is_bounded_and_speakers_take_turns(corpus: Path) -> None:
    trial = development_trials(corpus, sources=4)[0]
    assert [clip.speaker for clip in trial.sources] == ["bert", "cleo", "bert", "cleo"]
    assert [clip.path.name for clip in singing(corpus)] == ["song.flac"]


def test_held_out_speakers_are_only_those_named_with_speech_enough(corpus: Path) -> None:
    assert [trial.name for trial in held_out_trials(corpus, ["bert", "cleo"])] == ["bert"]


def test_without_a_manifest_or_a_task_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"manifest\.csv"):
        development_trials(tmp_path)
    with pytest.raises(EngineError, match="what to evaluate"):
        run(work=tmp_path / "work")


def test_phone_errors_are_counted_as_edits() -> None:
    assert edit_distance(["K", "AE", "T"], ["K", "AE", "T"]) == 0
    assert edit_distance(["K", "AE", "T"], ["B", "AE", "T", "S"]) == 2
    assert edit_distance([], ["B", "AE"]) == 2


def test_long_sentences_count_for_more_in_the_phone_error() -> None:
    rows = [
        {"phones": 10, "words": 3, "errors": 5, "natural_errors": 1, "secs": 0.6, "source_secs": 0.5},
        {"phones": 90, "words": 20, "errors": 5, "natural_errors": 4, "secs": 0.8, "source_secs": 0.6},
    ]
    found = _mean("both", rows)
    assert found["per"] == pytest.approx(0.1) and found["per_ratio"] == pytest.approx(2.0)
    assert found["margin"] == pytest.approx(0.15) and found["words"] == 23
    text = as_text({"voices": [found]})
    assert "### voices" in text and "| both |" in text and "0.700" in text


def test_the_judges_tell_voices_pitch_and_noise_apart() -> None:
    judges = Judges()
    low, again, high = (speech(4.0, rate=RATE, f0=hz, seed=seed) for hz, seed in ((110, 0), (110, 1), (230, 2)))
    one, two, three = (judges.speaker(samples) for samples in (low, again, high))
    assert cosine(one, two) > cosine(one, three)
    track = judges.f0(low)
    assert len(track) == 401 and 85 < np.median(track[track > 0]) < 140
    noisy = low + 0.05 * np.random.default_rng(0).standard_normal(len(low)).astype(np.float32)
    assert judges.naturalness(low)["overall"] > judges.naturalness(noisy)["overall"]
    assert judges.phones_of("Hello, world!") == ["HH", "AH", "L", "OW", "W", "ER", "L", "D"]


def test_a_finished_voice_is_judged_on_any_sources(made: Made, tmp_path: Path) -> None:
    if made.engine.same_speaker == 0.5:
        pytest.skip("only voices of the native converter are evaluated")
    sources = tmp_path / "sources"
    sources.mkdir()
    write_speech(sources / "source.wav", 3.0)
    tables = run(voice=made.voice, sources=[sources], target=made.takes[:1], work=tmp_path / "work", threads=1)
    row = tables["mean"][0]
    assert row["conversions"] == 1 and -1 <= row["secs"] <= 1
    assert row["f0_correlation"] > 0.8 and 1 <= row["p808"] <= 5
    again = run(voice=made.voice, sources=[sources], target=made.takes[:1], work=tmp_path / "work", threads=1)
    assert again["mean"] == tables["mean"]
