"""The record of what a training takes: real processor time and memory, over attempts, bounded."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ml.resources import MOST_SAMPLES, Recorder, _add, _read, family, machine_of, processor_seconds, resident_bytes


def busy(seconds: float) -> None:
    limit = time.process_time() + seconds
    while time.process_time() < limit:
        sum(range(1000))


def test_a_busy_and_an_idle_stage_are_told_apart(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r.json", interval=0.1) as record, record.stage("busy"):
        busy(0.8)
    with Recorder(tmp_path / "i.json", interval=0.1) as resting, resting.stage("idle"):
        time.sleep(0.8)
    facts, idle = record.facts(), resting.facts()
    # On a crowded machine the share is smaller and the time longer; together they are what was spent.
    spent = facts["figures"]["cpu_percent"]["mean"] / 100 * facts["stages"]["busy"]
    assert 0.5 < spent < 1.1
    assert idle["figures"]["cpu_percent"]["mean"] / 100 * idle["stages"]["idle"] < 0.4
    assert facts["stages"]["busy"] >= 0.7 and idle["stages"]["idle"] >= 0.8
    assert facts["figures"]["memory_bytes"]["peak"] > 30_000_000
    assert facts["machines"] == [machine_of()] and facts["machines"][0]["cores"] >= 1
    assert facts["machines"][0]["gpu"] is None and "gpu_percent" not in facts["figures"]


def test_a_child_process_counts_too() -> None:
    before = len(family())
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "x = bytearray(200_000_000)\nfor _ in range(10**7): pass\nprint(1, flush=True)\ninput()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None and child.stdout.readline()
    members = family()
    assert len(members) == before + 1 and child.pid in members
    assert resident_bytes(members) > resident_bytes([pid for pid in members if pid != child.pid]) + 150_000_000
    assert processor_seconds([child.pid]) > 0.05
    child.communicate(b"\n", timeout=30)
    assert child.pid not in family()
    assert processor_seconds([child.pid]) == 0.0, "a process that has ended is no error"


def test_what_was_flushed_of_a_killed_attempt_is_there_and_the_next_one_adds_to_it(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    code = (
        "import os, signal, sys, time\nfrom pathlib import Path\nfrom ml.resources import Recorder\n"
        f"with Recorder(Path({str(path)!r}), interval=0.05) as record:\n"
        "    with record.stage('training'):\n        time.sleep(0.5)\n"
        "    record.flush()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9
    with Recorder(path, interval=0.05) as record, record.stage("training"):
        time.sleep(0.5)
    facts = record.facts()
    assert len(facts["attempts"]) == 2 and len(facts["machines"]) <= 2
    assert 1.0 <= facts["stages"]["training"] < 3
    times = facts["samples"]["seconds"]
    assert times == sorted(times) and times[-1] <= facts["seconds"] + 0.1
    assert facts["seconds"] == pytest.approx(sum(attempt["seconds"] for attempt in facts["attempts"]), abs=0.01)


def test_the_samples_of_a_day_stay_few_and_means_and_peaks_exact() -> None:
    record = _read(Path("/nowhere/record"))
    for second in range(86_400):
        _add(record, float(second), {"cpu_percent": float(second % 100), "memory_bytes": 5e8})
    points = record["samples"]
    assert MOST_SAMPLES / 2 <= len(points["seconds"]) <= MOST_SAMPLES
    assert {len(values) for name, values in points.items() if name != "interval_seconds"} == {len(points["seconds"])}
    assert record["figures"]["cpu_percent"] == {"mean": pytest.approx(49.5), "peak": 99.0, "count": 86_400}
    assert len(json.dumps(record)) < 40_000


def test_a_figure_that_comes_later_has_gaps_before() -> None:
    record = _read(Path("/nowhere/record"))
    _add(record, 1.0, {"cpu_percent": 1.0})
    _add(record, 2.0, {"cpu_percent": 2.0, "gpu_percent": 50.0})
    _add(record, 3.0, {"cpu_percent": 3.0})
    assert record["samples"]["gpu_percent"] == [None, 50.0, None]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"seconds": 3}', b"\xff\xfe"])
def test_a_damaged_record_begins_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "r.json").write_bytes(content)
    with Recorder(tmp_path / "r.json", interval=0.05) as record:
        time.sleep(0.12)
    assert len(record.facts()["attempts"]) == 1
    assert "damaged" in caplog.text


def test_a_record_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "gone" / "r.json", interval=0.05) as record:
        record.flush()
    assert "could not be written" in caplog.text
