"""The voices of a set, evaluated by one process and by two, and their report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from ml import voicefile
from ml.bench import Setting
from ml.evaluation import Evaluation, Task, run
from ml.reporting import as_html
from tests.ml.conftest import write_speech
from tests.ml.test_reporting import Page

# Times, and what the recogniser hears: it adapts from one recording to the next, so its errors hang on the order.
VARYING = {"rtf", "training_seconds", "errors", "natural_errors", "per", "natural_per", "per_ratio"}


def write_set(folder: Path, seconds: float) -> None:
    """A manifest of two targets, four recordings of `seconds` each."""
    rows = [["path", "speaker_id", "sex", "duration_s", "transcript", "role"]]
    for speaker, sex, hertz in (("anna", "F", 210.0), ("bert & <b>co</b>", "M", 110.0)):
        for number in range(4):
            write_speech(folder / f"{sex}{number}.wav", seconds, f0=hertz, seed=number)
            rows.append([f"{sex}{number}.wav", speaker, sex, str(seconds), "he has a word to say", "target"])
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[Evaluation]:
    """A set of two voices of the toy converter, evaluated by one process and by two."""
    corpus = tmp_path_factory.mktemp("set")
    write_set(corpus, 2.0)
    task = Task(development=corpus, sources_a_voice=1)
    return [run(task, Setting("fast", 0.5, 1, corpus / f"work-{jobs}", "toy"), jobs=jobs) for jobs in (1, 2)]


def test_two_processes_find_what_one_does(sets: list[Evaluation]) -> None:
    def without_times(found: Evaluation) -> object:
        text = json.dumps({key: value for key, value in found.as_json().items() if key != "about"})
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: {k: v for k, v in pairs if k not in VARYING},
        )

    alone, together = (without_times(found) for found in sets)
    assert alone == together
    assert len(sets[0].tables["voices"]) == 3


def test_instant_voices_are_made_of_the_first_ten_seconds(tmp_path: Path) -> None:
    write_set(tmp_path, 6.0)
    setting = Setting("balanced", 0.5, 1, tmp_path / "work", "toy", instant=True)
    found = run(Task(development=tmp_path, sources_a_voice=1), setting)
    assert [row["speech_seconds"] for row in found.tables["voices"][:2]] == [10.0, 10.0]
    voices = [voicefile.read(path, "toy")[1] for path in (tmp_path / "work").glob("*.voice")]
    assert len(voices) == 2 and all(traits.seconds == pytest.approx(10.0, abs=0.1) for traits in voices)
    assert "instant" in found.about["converter"]


def test_the_report_names_every_voice(sets: list[Evaluation]) -> None:
    text = as_html(sets[0])
    names = [cell for row in Page(text).tables[0] for cell in row[:1]]
    assert names == ["name", "anna (F)", "bert & <b>co</b> (M)", "mean"]
    assert "<b>co</b>" not in text and "natural speech" in text and "unconverted source" in text
    for bar in ("0.820", "3.65"):
        assert f"target bar {bar}" in text
