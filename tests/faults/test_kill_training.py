"""``kill -9`` of the worker at random moments of a training: it ends done all the same, with exactly one model."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml import checkpoint
from tests.sounds import speech, wav_bytes
from tests.stack import Stack, running, short_folder

SAVE_SECONDS = 1.0
FEW_STEPS, MORE_STEPS = 1000, 5000
SECONDS_A_KILL = 10.0
PREPARE = """
from pathlib import Path
from django.db import transaction
from apps.accounts.models import User
from apps.voices.services.consents import Terms, give_consent
from apps.voices.services.recordings import add_recording
from apps.voices.services.voices import create_voice
user = User.objects.get(email="admin@localhost")
voice = create_voice(workspace=user.workspaces.first(), user=user, name="Anna")
terms = Terms("Anna Example", is_own_voice=True, speech=True, singing=True, commercial=False, expires_on=None)
give_consent(voice=voice, user=user, terms=terms)
for number, path in enumerate(paths):
    add_recording(voice=voice, user=user, path=Path(path), name=f"{number}.wav")
result = voice.pk
"""
SLICED = """
from apps.jobs.models import Job
result = not Job.objects.filter(kind__contains="slic", ended_at=None).exists() and Job.objects.exists()
"""
TRAIN = """
from apps.accounts.models import User
from apps.voices.models import Voice
from apps.voices.services.training import train
user = User.objects.get(email="admin@localhost")
options = {"preset": "fast", "steps": steps, "save_seconds": save_seconds}
result = train(voice=Voice.objects.get(pk=voice), user=user, options=options).pk
"""
LOOK = """
from apps.voices.models import VoiceModel
model = VoiceModel.objects.select_related("job").get(pk=pk)
names = ("status", "message", "attempt", "stage", "progress", "checkpoint_attempt")
result = {name: getattr(model.job, name) for name in names}
result |= {"curve": model.curve, "file": model.file.name, "steps": model.steps, "code": str(model.job.code)}
result |= {"seconds": model.training_seconds}
result |= {"models": model.voice.models.count(), "samples": model.job.artifacts.count()}
if model.file:
    result["stored"] = len(model.file.storage.listdir(f"{model.voice.workspace.file_prefix}/models")[1])
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Stack]:
    data = short_folder()
    with running(data, JOB_HEARTBEAT_SECONDS="1", JOB_LOST_AFTER_SECONDS="4", OMP_NUM_THREADS="1") as stack:
        yield stack
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture(scope="module")
def voice(site: Stack) -> int:
    """A voice with consent and takes enough, made the way a user makes it."""
    folder = site.data / "made"
    folder.mkdir()
    for seed in range(4):
        (folder / f"{seed}.wav").write_bytes(wav_bytes(speech(22.0, seed=seed)))
    pk = site.django(PREPARE, paths=sorted(map(str, folder.iterdir())))
    site.wait_until(lambda: site.django(SLICED), seconds=180)
    return int(pk)


def look(site: Stack, pk: int) -> dict[str, Any]:
    return site.django(LOOK, pk=pk)


def until_ended(site: Stack, pk: int, *, seconds: float) -> dict[str, Any]:
    site.wait_until(lambda: look(site, pk)["status"] in ("done", "failed", "cancelled"), seconds=seconds)
    return look(site, pk)


def saved_step(site: Stack, code: str) -> int:
    """Return the step of the checkpoint that lies in the work folder, -1 when there is none."""
    path = site.data / "jobs" / code / "work" / "state.safetensors"
    if not path.exists():
        return -1
    _, metadata = checkpoint.load(path)
    return int(metadata["progress"]["step"])


def held_out(seen: dict[str, Any]) -> list[tuple[int, float]]:
    """Return the held-out loss at each validation: equal weights give equal ones."""
    return [(point["step"], point["held_out"]) for point in seen["curve"]]


def kill_worker(site: Stack, code: str, attempt: int, pk: int) -> tuple[int, float]:
    """Kill the worker that runs the attempt; return the saved step and the checkpoint's age at that moment."""
    step = saved_step(site, code)
    path: Path = site.data / "jobs" / code / "work" / "state.safetensors"
    age = time.time() - path.stat().st_mtime if step >= 0 else 0.0
    os.kill(site.worker("gpu"), signal.SIGKILL)
    site.wait_until(lambda: look(site, pk)["attempt"] > attempt or look(site, pk)["status"] == "done", seconds=300)
    return step, age


def trained(site: Stack, voice: int, steps: int) -> dict[str, Any]:
    """Return a training that nobody disturbed."""
    ended = until_ended(site, site.django(TRAIN, voice=voice, steps=steps, save_seconds=SAVE_SECONDS), seconds=300)
    assert ended["status"] == "done", ended
    return ended


def steps_for(seconds: float, site: Stack, voice: int) -> int:
    """Return how many steps keep this machine busy for so long: the kills must find it at work."""
    few, more = (trained(site, voice, steps)["seconds"] for steps in (FEW_STEPS, MORE_STEPS))
    return round(seconds * (MORE_STEPS - FEW_STEPS) / max(more - few, 0.1))


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_a_training_whose_worker_is_killed_ends_as_if_nothing_had_been(site: Stack, voice: int, kills: int) -> None:
    seed = int(os.environ.get("FAULT_SEED") or time.time())
    print(f"FAULT_SEED={seed}")
    chance = random.Random(seed)
    steps = steps_for(kills * SECONDS_A_KILL, site, voice)
    undisturbed = trained(site, voice, steps)

    pk = site.django(TRAIN, voice=voice, steps=steps, save_seconds=SAVE_SECONDS)
    killed = 0
    while killed < kills:
        site.wait_until(lambda: look(site, pk)["status"] != "queued", seconds=300)
        # From before the first step to well after a checkpoint.
        time.sleep(chance.uniform(0.2, 5.0))
        seen = look(site, pk)
        assert seen["status"] in ("running", "queued"), f"ended after {killed} kills: {seen}"
        step, age = kill_worker(site, seen["code"], seen["attempt"], pk)
        killed += 1
        if step >= 0 and "step" in seen["stage"]:
            assert age < SAVE_SECONDS + 3.0, "more than one save interval was lost"
        assert saved_step(site, seen["code"]) >= step, "a checkpoint went backwards"
    ended = until_ended(site, pk, seconds=600)

    assert ended["status"] == "done", ended
    # On a crowded machine an attempt more may be given up for lost, as this stack waits for four seconds only.
    assert ended["attempt"] >= kills + 1
    assert ended["steps"] == steps
    # The mean training loss of a stretch starts anew with an attempt; what was learnt does not.
    assert held_out(ended) == held_out(undisturbed)
    assert ended["samples"] == undisturbed["samples"]
    assert ended["models"] == ended["stored"]
    assert ended["file"]
    site.wait_until(lambda: not (site.data / "jobs" / ended["code"]).exists(), seconds=10)
