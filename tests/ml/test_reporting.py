"""Results judged beside their sources, and the report: one file that names, escapes and shows what the JSON holds."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ml.__main__ import main
from ml.bars import METRICS
from ml.bench import Setting
from ml.engine import EngineError
from ml.evaluation import Evaluation, Task, run
from ml.metrics import clicks, length_error, silence_level
from ml.reporting import as_html
from tests.ml.conftest import write_speech
from tests.sounds import speech, tone

HOSTILE = "<img src=x onerror=alert(1)> & 'so' on"
FETCHING = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """The cells of every table, the tags, and what would be fetched; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.in_small = 0
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.fetched += [value or "" for name, value in attrs if name in FETCHING]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"th", "td"}:
            self.tables[-1][-1].append("")
        elif tag == "small":
            self.tables[-1][-1][-1] += "|"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in {"th", "td", "small"}:
            self.tables[-1][-1][-1] += data


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources with results, one of them as a different format; a source and a result alone."""
    folder = tmp_path_factory.mktemp("pairs")
    for name in ("in", "out"):
        (folder / name).mkdir()
    write_speech(folder / "in" / f"{HOSTILE}.wav", 2.5, f0=120.0)
    write_speech(folder / "out" / f"{HOSTILE}.flac", 2.5, f0=180.0)
    write_speech(folder / "in" / "second.wav", 2.0, seed=3)
    write_speech(folder / "out" / "second.wav", 2.0, seed=3)
    write_speech(folder / "in" / "lonely.wav", 2.0)
    write_speech(folder / "out" / "orphan.wav", 2.0)
    (folder / "out" / "broken.wav").write_bytes(b"RIFF but no sound")
    write_speech(folder / "in" / "broken.wav", 2.0)
    return folder


@pytest.fixture(scope="module")
def report(folders: Path) -> tuple[dict[str, object], str]:
    """The JSON and the HTML of the folders' evaluation, from the command line."""
    out = folders / "report.html"
    where = ["--work", str(folders / "work"), "--html", str(out), "--date", "2026-01-02", "--threads", "1", "--quiet"]
    assert main(["evaluate", "--source", str(folders / "in"), "--result", str(folders / "out"), *where]) == 0
    return json.loads(out.with_suffix(".json").read_text()), out.read_text()


def test_what_has_no_partner_or_no_sound_gets_a_sentence_and_the_rest_is_judged(report: tuple) -> None:
    figures, text = report
    assert [row["name"] for row in figures["every"]] == [HOSTILE, "second"]
    first, second = figures["every"]
    assert "secs" not in first and first["source_secs"] < second["source_secs"]
    assert first["pitch"] == pytest.approx(12 * np.log2(180 / 120), abs=0.5)
    assert second["heard_phones"] > 0 and second["f0_cents"] < 5 and second["length_error"] == 0
    assert len(figures["failures"]) == 3
    for name in ("lonely", "orphan", "broken"):
        assert sum(name in sentence for sentence in figures["failures"]) == 1
        assert name in text


def test_the_report_is_one_file_that_fetches_nothing_and_escapes_every_name(report: tuple) -> None:
    text = report[1]
    page = Page(text)
    assert "http://" not in text and "https://" not in text and "url(" not in text
    assert page.fetched and all(place.startswith("data:image/png;base64,") for place in page.fetched)
    assert not page.tags & {"script", "link", "iframe", "object"}
    assert "<img src=x" not in text and "&lt;img src=x onerror=alert(1)&gt; &amp; &#x27;so&#x27; on" in text
    assert "2026-01-02" in text
    assert {"voicecloud", "base", "conversion settings", "machine"} <= set(report[0]["about"])


def test_report_and_json_hold_the_same_figures(report: tuple) -> None:
    figures, text = report
    page = Page(text)
    (mean,) = figures["mean"]
    by_label = dict(zip(page.tables[0][0], page.tables[0][1], strict=True))
    for metric in METRICS:
        if metric.key in mean:
            low, high = mean["intervals"][metric.key]
            assert by_label[metric.label] == f"{mean[metric.key]:.3f}|{low:.3f} to {high:.3f}"
    every = page.tables[-1]
    assert len(every) == 1 + len(figures["every"])
    for shown, row in zip(every[1:], figures["every"], strict=True):
        found = dict(zip(every[0], shown, strict=True))
        assert found["name"] == row["name"] and found["P.808"] == f"{row['p808']:.3f}"
        assert found["clicks"] == str(row["clicks"])


def test_a_single_result_is_judged_and_of_a_broken_one_it_is_said(folders: Path, tmp_path: Path) -> None:
    setting = Setting("balanced", 0.5, 1, folders / "work")
    second = folders / "in" / "second.wav"
    found = run(Task(result=second, source=second, target=[second]), setting)
    row = found.conversions[0].row
    assert row["secs"] == pytest.approx(1.0, abs=1e-4) and row["margin"] == pytest.approx(0.0, abs=1e-4)
    assert "data:image/png" in as_html(found)
    with pytest.raises(EngineError, match=r"Nothing could be judged.*broken\.wav"):
        run(Task(result=folders / "out" / "broken.wav", source=second), setting)
    with pytest.raises(EngineError, match="two files or two folders"):
        run(Task(result=folders / "out", source=second), setting)
    with pytest.raises(EngineError, match="no sound at"):
        run(Task(result=tmp_path / "nothing.wav", source=second), setting)


def test_without_matplotlib_the_report_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EngineError, match="matplotlib; install"):
        as_html(Evaluation({}, {}, []))


def test_clicks_are_counted_and_voices_are_not() -> None:
    for hertz in (100.0, 140.0):
        assert clicks(speech(3.0, rate=24_000, f0=hertz), 24_000) == 0
    clean = tone(1.0, hz=200.0, rate=24_000)
    assert clicks(clean, 24_000) == 0
    jumps = clean.copy()
    jumps[8000:] *= -1.0  # a cut at another phase
    jumps[16_000] += 0.2
    assert clicks(jumps, 24_000) == 2
    assert clicks(np.zeros(100, np.float32), 24_000) == 0


def test_lengths_and_silences_are_compared() -> None:
    assert length_error(48_000, 48_000, 16_000, 16_000) == 0
    assert length_error(47_998, 48_000, 16_000, 16_000) == -2
    source = np.full(200, -30.0, np.float32)
    assert silence_level(source, source) is None
    source[50:150] = -90.0
    result = source.copy()
    result[50:60] = -40.0  # where a fade may still ring
    result[100] = -55.0
    assert silence_level(source, result) == -55.0


def test_a_result_that_is_shorter_is_said_to_be(tmp_path: Path) -> None:
    source = write_speech(tmp_path / "in.wav", 2.0)
    samples, rate = soundfile.read(source, dtype="float32")
    soundfile.write(tmp_path / "out.wav", samples[:-160], rate)
    found = run(Task(result=tmp_path / "out.wav", source=source), Setting("fast", 0.5, 1, tmp_path / "work"))
    assert found.tables["mean"][0]["length_error"] == 160
