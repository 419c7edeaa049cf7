"""What is evaluated on what, by whom, and how figures are averaged."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml.averages import mean
from ml.bench import Setting
from ml.corpora import TRAINING_SECONDS, development_trials, held_out_trials, singing
from ml.engine import EngineError
from ml.evaluation import Task, run
from ml.judges import RATE, Judges, edit_distance
from ml.metrics import cosine
from ml.tables import as_text
from ml.voicefile import converter_of
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


def test_few_sources_of_every_voice_are_together_of_all_speakers_with_a_transcript_or_without(corpus: Path) -> None:
    with (corpus / "manifest.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["zoe.flac", "zoe", "F", "4.0", "", ""])
    trials = held_out_trials(corpus, ["anna", "bert", "cleo", "zoe"], sources=1)
    assert [(trial.name, trial.sources[0].speaker) for trial in trials] == [("anna", "bert"), ("bert", "cleo")]
    assert [clip.speaker for clip in held_out_trials(corpus, ["bert", "zoe"], sources=1)[0].sources] == ["zoe"]


def test_held_out_speakers_are_only_those_named_with_speech_enough(corpus: Path) -> None:
    assert [trial.name for trial in held_out_trials(corpus, ["bert", "cleo"])] == ["bert"]


def test_a_single_recording_is_divided_and_its_voice_comes_last(corpus: Path) -> None:
    with (corpus / "manifest.csv").open("a", newline="") as file:
        csv.writer(file).writerow(["aaron.flac", "aaron", "M", "16.0", "", ""])
        csv.writer(file).writerow(["abe.flac", "abe", "M", "8.0", "", ""])
    trials = held_out_trials(corpus, ["aaron", "abe", "bert", "cleo"])
    assert [trial.name for trial in trials] == ["bert", "aaron"]
    (trained,), (tested,) = trials[1].training, trials[1].testing
    assert (trained.start, trained.end, tested.start, tested.end) == (0.0, 12.0, 12.0, None)
    assert trained.seconds + tested.seconds == 16.0
    assert {clip.speaker for trial in trials for clip in trial.sources} == {"aaron", "abe", "bert", "cleo"}
    assert all(clip.speaker != trial.name for trial in trials for clip in trial.sources)


def test_without_a_manifest_or_a_task_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"manifest\.csv"):
        development_trials(tmp_path)
    with pytest.raises(EngineError, match="what to evaluate"):
        run(Task(), Setting("fast", 0.5, 1, tmp_path / "work"))


def test_phone_errors_are_counted_as_edits() -> None:
    assert edit_distance(["K", "AE", "T"], ["K", "AE", "T"]) == 0
    assert edit_distance(["K", "AE", "T"], ["B", "AE", "T", "S"]) == 2
    assert edit_distance([], ["B", "AE"]) == 2


def test_long_sentences_count_for_more_in_the_phone_error() -> None:
    rows = [
        {"phones": 10, "words": 3, "errors": 5, "natural_errors": 1, "secs": 0.6, "source_secs": 0.5},
        {"phones": 90, "words": 20, "errors": 5, "natural_errors": 4, "secs": 0.8, "source_secs": 0.6},
    ]
    found = mean("both", rows)
    assert found["per"] == pytest.approx(0.1) and found["per_ratio"] == pytest.approx(2.0)
    assert found["words"] == 23 and found["secs"] == pytest.approx(0.7)
    text = as_text({"voices": [found]})
    assert "### voices" in text and "| both |" in text and "0.700 (0.600 to 0.800)" in text


def test_worst_lengths_and_silences_are_kept_and_clicks_are_summed() -> None:
    rows = [
        {"length_error": 0, "silence_db": -90.0, "clicks": 2},
        {"length_error": 3, "silence_db": -50.0, "clicks": 1},
        {"length_error": 1, "clicks": 0},
    ]
    assert mean("all", rows) == {"name": "all", "conversions": 3, "length_error": 3, "silence_db": -50.0, "clicks": 3}


def test_intervals_hold_the_mean_and_shrink_with_more_conversions() -> None:
    values = np.random.default_rng(1).normal(0.75, 0.05, 400)
    widths = []
    for count in (4, 40, 400):
        found = mean("all", [{"secs": float(value)} for value in values[:count]])
        low, high = found["intervals"]["secs"]
        assert low < found["secs"] < high
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    # The normal approximation, 1.96 standard errors on either side, holds at 400.
    assert widths[2] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert "intervals" not in mean("one", [{"secs": 0.7}])


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
    sources = tmp_path / "sources"
    sources.mkdir()
    write_speech(sources / "source.wav", 3.0)
    (sources / "source.txt").write_text("He has a word to say.\n")
    setting = Setting("balanced", 0.5, 1, tmp_path / "work", converter_of(made.voice))
    task = Task(voice=made.voice, sources=[sources], target=made.takes)
    found = run(task, setting)
    row = found.tables["mean"][0]
    assert row["conversions"] == 1 and -1 <= row["secs"] <= 1 and -1 <= row["own_secs"] <= 1
    assert row["f0_correlation"] > 0.8 and 1 <= row["p808"] <= 5 and row["words"] == 6
    assert row["length_error"] == 0 and found.tables["natural"][0]["secs"] > 0.5
    assert run(task, setting).as_json() == found.as_json()


def test_a_stream_is_judged_as_one(made: Made, tmp_path: Path) -> None:
    source = write_speech(tmp_path / "source.wav", 3.0, 24_000, 120.0, 7)
    setting = Setting("balanced", 0.5, 1, tmp_path / "work", converter_of(made.voice), stream=True)
    found = run(Task(voice=made.voice, sources=[source]), setting)
    row = found.conversions[0].row
    assert row["length_error"] == 0 and row["rtf"] > 0
    assert "stream" in found.about["conversion settings"]
    whole = run(Task(voice=made.voice, sources=[source]), replace(setting, stream=False)).conversions[0]
    assert whole.result.read_bytes() != found.conversions[0].result.read_bytes()
