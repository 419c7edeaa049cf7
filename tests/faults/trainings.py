"""What the tests share that disturb a training on a running site: the site, a voice, and looking at what happens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml import checkpoint
from tests.sounds import speech, wav_bytes
from tests.stack import Stack, running, short_folder

SAVE_SECONDS = 1.0
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
options = {"preset": "fast", "steps": steps, "save_seconds": save_seconds, "patience": 0}
result = train(voice=Voice.objects.get(pk=voice), user=user, options=options).pk
"""
LOOK = """
from apps.voices.models import VoiceModel
model = VoiceModel.objects.select_related("job").get(pk=pk)
names = ("status", "message", "attempt", "stage", "progress", "checkpoint_attempt")
result = {name: getattr(model.job, name) for name in names}
result |= {"curve": model.curve, "file": model.file.name, "steps": model.steps, "code": str(model.job.code)}
result |= {"seconds": model.training_seconds, "metrics": model.metrics, "options": model.options}
result |= {"notes": model.notes, "resources": model.resources, "card": model.card}
result |= {"models": model.voice.models.count(), "samples": model.job.artifacts.count()}
if model.file:
    result["stored"] = len(model.file.storage.listdir(f"{model.voice.workspace.file_prefix}/models")[1])
"""


@contextmanager
def training_site() -> Iterator[Stack]:
    """Run a site that misses a dead worker after four seconds."""
    data = short_folder()
    with running(data, JOB_HEARTBEAT_SECONDS="1", JOB_LOST_AFTER_SECONDS="4", OMP_NUM_THREADS="1") as stack:
        yield stack
    shutil.rmtree(data, ignore_errors=True)


def made_voice(site: Stack) -> int:
    """Make a voice with consent and takes enough, the way a user makes it; return its key."""
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


def states(site: Stack, code: str) -> list[Path]:
    """Return the generations of the state in the work folder, the oldest first."""
    return sorted((site.data / "jobs" / code / "work").glob("state-*.safetensors"))


def saved_step(site: Stack, code: str) -> int:
    """Return the step of the checkpoint that lies in the work folder, -1 when there is none."""
    found = states(site, code)
    if not found:
        return -1
    _, metadata = checkpoint.load(found[-1])
    return int(metadata["progress"]["step"])


def held_out(seen: dict[str, Any]) -> list[tuple[int, float]]:
    """Return the held-out loss at each validation: equal weights give equal ones."""
    return [(point["step"], point["held_out"]) for point in seen["curve"]]


def trained(site: Stack, voice: int, steps: int) -> dict[str, Any]:
    """Return a training that nobody disturbed."""
    ended = until_ended(site, site.django(TRAIN, voice=voice, steps=steps, save_seconds=SAVE_SECONDS), seconds=600)
    assert ended["status"] == "done", ended
    return ended


def family(site: Stack) -> tuple[int, int | None]:
    """Return the process numbers of the training worker and of its work-horse, if there is one now."""
    worker = site.worker("gpu")
    horses = [pid for pid, line in site.processes().items() if " worker gpu" in line and pid != worker]
    return worker, horses[0] if horses else None
