"""`python -m ml`: trains and converts; its exit status and one sentence tell what went wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from ml import checkpoint
from ml.__main__ import main
from tests.bad_audio import BAD_FILES
from tests.ml.conftest import write_speech

TOY = ["--converter", "toy", "--threads", "1"]


def test_a_voice_is_trained_and_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings = [str(write_speech(tmp_path / f"{n}.wav", 6.0, seed=n)) for n in range(2)]
    voice, out, report = (str(tmp_path / name) for name in ("my.voice", "out.flac", "report.json"))
    assert main(["train", voice, *recordings, "--preset", "fast", "--steps", "12", *TOY]) == 0
    assert "12 steps" in capsys.readouterr().out
    assert not Path(voice + ".work").exists()
    assert main(["convert", voice, recordings[0], out, "--pitch", "3", "--report", report, "--quiet", *TOY]) == 0
    assert capsys.readouterr().out == ""
    assert soundfile.info(out).frames == soundfile.info(recordings[0]).frames
    told = json.loads(Path(report).read_text())
    assert told["pitch"] == 3.0 and told["options"]["retrieval"] == 0.7
    assert main(["instant", str(tmp_path / "now.voice"), recordings[0], "--quiet", *TOY]) == 0


def test_a_stopped_training_is_resumed_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = str(write_speech(tmp_path / "a.wav", 6.0))
    voice, work = tmp_path / "my.voice", tmp_path / "my.voice.work" / "run"
    command = [sys.executable, "-m", "ml", "train", str(voice), recording, "--steps", "40000", "--patience", "0", *TOY]
    # Whoever started the tests in the background may have had SIGINT ignored, and children inherit that.
    stopped = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while len(list(work.glob("state-*"))) < 2 and stopped.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    stopped.send_signal(signal.SIGINT)
    told = stopped.communicate(timeout=60)[1]
    # CPython ends a module by the signal itself, though the interrupt was handled, when it came inside a source text
    # that is executed (dataclasses make methods so). A shell calls both 130.
    assert b"--resume" in told and stopped.returncode in (130, -signal.SIGINT)
    reached = checkpoint.load(max(work.glob("state-*")))[1]["progress"]["step"]
    assert 0 < reached < 40000 and not voice.exists()
    assert main(["train", str(voice), recording, "--steps", "30000", "--resume", "--quiet", *TOY]) == 2
    assert "other takes or options" in capsys.readouterr().err


def test_bad_audio_is_status_three_and_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BAD_FILES["page.mp3"].write(tmp_path / "page.mp3")
    assert main(["train", str(tmp_path / "a.voice"), str(tmp_path / "page.mp3"), *TOY]) == 3
    told = capsys.readouterr().err
    assert "web page" in told and told.count("\n") == 1


def test_bad_arguments_are_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = str(write_speech(tmp_path / "a.wav", 2.0))
    (tmp_path / "bad.voice").write_bytes(b"nothing")
    for arguments in (
        ["convert", str(tmp_path / "bad.voice"), source, str(tmp_path / "out.wav")],
        ["convert", str(tmp_path / "bad.voice"), source, str(tmp_path / "out.xyz")],
        ["evaluate"],
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as stopped:
        main(["train"])
    assert stopped.value.code == 2
