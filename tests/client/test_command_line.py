"""The command ``voicecloud`` as a process of its own, against a running site: from a key to a converted file."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.sounds import speech, tone, wav_bytes
from tests.stack import ROOT, Stack

SEED = """
from apps.accounts import keys, services
from apps.accounts.models import User
user = User.objects.create_user(f"{name}@example.org", "x")
workspace = services.create_workspace(user=user, name=name)
membership = workspace.memberships.get()
result = {scope: keys.issue(membership=membership, name=scope, scope=scope)[1] for scope in ("admin", "read")}
"""
WAITING = """
from apps.accounts.models import Workspace
from apps.jobs.models import Job
workspace = Workspace.objects.get(name=name)
job = Job.objects.create(workspace=workspace, kind="slicing", title="Waiting", task="nothing", queue="nobody")
result = str(job.code)
"""
SECONDS = 60.0


class Shell:
    """Calls the command line with a configuration folder of its own."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        names = ("VOICECLOUD_URL", "VOICECLOUD_KEY")
        kept = {name: value for name, value in os.environ.items() if name not in names}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT / "client"),
            "XDG_CONFIG_HOME": str(home / "config"),
            **environment,
        }

    def start(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", "voicecloud_client.command_line", *words]
        return subprocess.Popen(command, env=self.environment, cwd=self.home, text=True, **{**pipes, **how})

    def run(self, *words: str, status: int = 0, text: str | None = None) -> tuple[str, str]:
        """Run it to its end; return what it wrote to stdout and to stderr."""
        process = self.start(*words, stdin=subprocess.PIPE)
        out, err = process.communicate(text or "", timeout=SECONDS)
        assert process.returncode == status, (words, process.returncode, out, err)
        return out, err

    def lines(self, *words: str, status: int = 0) -> list[dict[str, Any]]:
        """Run it with --json; return the objects of its lines."""
        out, _ = self.run(*words, "--json", status=status)
        return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def keys(stack: Stack, request: pytest.FixtureRequest) -> dict[str, str]:
    """Keys of a new workspace that is called after the test."""
    found: dict[str, str] = stack.django(SEED, name=request.node.name[:60])
    return found


@pytest.fixture
def shell(stack: Stack, keys: dict[str, str], tmp_path: Path) -> Shell:
    """Somebody who has logged in."""
    shell = Shell(tmp_path)
    shell.run("login", "--url", stack.url, text=f"{keys['admin']}\n")
    return shell


@pytest.mark.slow
def test_from_a_key_to_a_converted_file(stack: Stack, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "takes.wav").write_bytes(wav_bytes(speech(20.0)))
    (tmp_path / "song.wav").write_bytes(wav_bytes(tone(1.0)))
    (tmp_path / "text.wav").write_text("no sound at all")
    assert shell.lines("voices", "create", "Ada", "--description", "A test")[0]["name"] == "Ada"
    uploaded = shell.lines("voices", "upload", "ada", "takes.wav")
    assert uploaded[0]["recording"]["duration"] == pytest.approx(20.0)
    refused, why = shell.run("voices", "consent", "Ada", "--name", "Ada Lovelace", status=1)
    assert refused == ""
    assert "Ada Lovelace" in why
    assert "--agree" in why
    consent = shell.lines("voices", "consent", "Ada", "--name", "Ada Lovelace", "--until", "2099-12-31", "--agree")[0]
    assert (consent["full_name"], consent["expires_at"][:4]) == ("Ada Lovelace", "2099")
    model = shell.lines("train", "Ada", "--instant")[0]
    assert (model["status"], model["active"]) == ("done", True)

    words = ("convert", "song.wav", "text.wav", "missing.wav", "--voice", "Ada", "--out", "out", "--format", "flac")
    made = {line["file"]: line for line in shell.lines(*words, "--pitch", "-3", status=1)}
    saved = Path(made["song.wav"]["saved"])
    assert (tmp_path / saved).read_bytes()[:4] == b"fLaC"
    assert saved.parent == Path("out")
    assert set(made) == {"song.wav", "text.wav", "missing.wav"}
    assert made["text.wav"]["error"]["type"] == "validation"
    assert "No such file" in made["missing.wav"]["error"]["message"]
    again = shell.lines("convert", "song.wav", "--voice", "Ada", "--out", "out", "--format", "flac")[0]
    assert Path(again["saved"]).name == f"{saved.stem} (2).flac"

    jobs = shell.lines("jobs", "list", "--kind", "conversion")
    assert [job["status"] for job in jobs] == ["done", "done"]
    assert shell.lines("jobs", "watch", jobs[0]["id"])[0]["progress"] == 1.0
    downloaded = shell.lines("jobs", "download", jobs[0]["id"], "--out", "more")
    assert (tmp_path / downloaded[0]["saved"]).read_bytes()[:4] == b"fLaC"
    used = {meter["meter"]: meter for meter in shell.lines("usage")[0]["meters"]}
    assert used["convert_seconds"]["used"] >= 2
    assert "conversion" in shell.run("usage")[0]
    voice = shell.lines("voices", "list")[0]
    assert (voice["has_consent"], voice["active_model"]) == (True, model["id"])
    assert "--yes" in shell.run("voices", "delete", "Ada", status=1)[1]
    shell.run("voices", "delete", "Ada", "--yes")
    assert shell.run("voices", "list")[0] == "There is no voice yet.\n"


@pytest.mark.slow
def test_a_login_is_tried_kept_for_its_owner_and_sent_nowhere_else(
    stack: Stack, keys: dict[str, str], shell: Shell, tmp_path: Path
) -> None:
    kept = tmp_path / "config" / "voicecloud" / "credentials.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    before = kept.read_text()
    out, why = shell.run("login", "--url", stack.url, "--key", "vc_wrong", status=1)
    assert "not known" in why
    assert kept.read_text() == before
    _, why = shell.run("voices", "list", "--url", "http://127.0.0.1:9", status=2)
    assert "The key that is kept is for" in why
    elsewhere = Shell(tmp_path / "config", VOICECLOUD_URL=stack.url, VOICECLOUD_KEY=keys["read"])
    assert elsewhere.lines("voices", "list") == []
    error = elsewhere.lines("voices", "create", "Ada", status=1)[0]["error"]
    assert (error["type"], bool(error["request_id"])) == ("permission", True)
    assert "Log in first" in Shell(tmp_path / "config").run("jobs", "list", status=2)[1]


@pytest.mark.slow
def test_ctrl_c_says_how_to_come_back_and_the_job_can_be_cancelled(
    stack: Stack, shell: Shell, request: pytest.FixtureRequest
) -> None:
    job = stack.django(WAITING, name=request.node.name[:60])
    here, there = pty.openpty()
    process = shell.start("jobs", "watch", job, stderr=there)
    _read_until(here, "Waiting")  # the bar
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 130
    _read_until(here, f"voicecloud jobs watch {job}")
    os.close(here)
    os.close(there)
    assert shell.lines("jobs", "cancel", job)[0]["status"] == "cancelled"
    assert "cancelled" in shell.run("jobs", "show", job)[0]
    assert shell.run("jobs", "watch", job, status=1)[1].startswith("Waiting: ")


def _read_until(terminal: int, words: str) -> str:
    """Read from a terminal until these words have come."""
    seen = ""
    while words not in seen:
        assert select.select([terminal], [], [], SECONDS)[0], seen
        seen += os.read(terminal, 4096).decode()
    return seen


def test_wrong_usage_is_told(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    assert "usage: voicecloud" in shell.run("conjure", status=2)[1]
    assert "2030-12-31" in shell.run("voices", "consent", "Ada", "--name", "A", "--until", "soon", status=2)[1]
    assert shell.run("--version")[0].startswith("voicecloud ")
    assert "cannot be reached" in shell.run("usage", "--url", "http://127.0.0.1:9", "--key", "k", status=1)[1]
