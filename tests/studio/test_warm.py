"""Voices that a worker keeps are counted: by the work-horse that has them, for all machines, and told by its worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.stack import Stack

PREPARE = """
from pathlib import Path
from django.core.files import File
from apps.accounts import services
from apps.accounts.models import User
from apps.jobs.models import Job
from apps.voices.models import Consent, Voice, VoiceModel
user = User.objects.create_user("warm@example.org", "x")
workspace = services.create_workspace(user=user, name="Warm")
voice = Voice.objects.create(workspace=workspace, name="Mia")
Consent.objects.create(voice=voice, statement="I agree.", full_name="Mia", is_own_voice=True)
job = Job.objects.create(workspace=workspace, kind="training", title="Training", task="none", queue="none")
model = VoiceModel(voice=voice, job=job, version=1, kind="instant", engine="toy", seconds_of_audio=12.0, active=True)
with Path(voice_file).open("rb") as handle:
    model.file.save("x", File(handle), save=True)
result = [workspace.slug, str(voice.code)]
"""
CONVERT = """
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from apps.accounts.models import User
from apps.jobs.models import Job
from apps.studio.forms import initial_of
from apps.studio.options import defaults
from tests.sounds import speech, wav_bytes
client = Client(headers={"host": "127.0.0.1"})
client.force_login(User.objects.get(email="warm@example.org"))
usual = {name: "" if value is None else value for name, value in initial_of(defaults()).items()}
song = SimpleUploadedFile("song.wav", wav_bytes(speech(2.0, seed=9)), content_type="audio/wav")
answer = client.post(f"/w/{slug}/convert/", {**usual, "voice": voice, "upload": song})
assert answer.status_code == 302, answer.content.decode()
result = Job.objects.filter(workspace__slug=slug, kind="conversion").latest("pk").pk
"""
STATUS = "from apps.jobs.models import Job\njob = Job.objects.get(pk=pk)\nresult = [job.status, job.message]"
TOLD = """
import django_rq
from apps.jobs import counters, presence
wire = django_rq.get_connection("gpu")
totals = counters.totals(wire)
result = {name: totals.get((f"model_cache_{name}",), 0.0) for name in ("hits", "misses")}
result["held"] = sum(worker.said["cache"]["held"] for worker in presence.living(wire) if worker.queue == "gpu")
"""


def test_the_second_conversion_with_a_voice_finds_it_in_memory(stack: Stack, voice_file: Path) -> None:
    slug, voice = stack.django(PREPARE, voice_file=str(voice_file))
    before = stack.django(TOLD)

    def told(name: str, more: int) -> bool:
        return bool(stack.django(TOLD)[name] - before[name] >= more)

    def convert() -> None:
        pk = stack.django(CONVERT, slug=slug, voice=voice)
        status: list[Any] = []

        def is_over() -> bool:
            status[:] = stack.django(STATUS, pk=pk)
            return status[0] in ("done", "failed")

        stack.wait_until(is_over, seconds=60)
        assert status[0] == "done", status

    convert()
    stack.wait_until(lambda: told("misses", 1), seconds=10)
    assert not told("hits", 1)
    convert()
    stack.wait_until(lambda: told("hits", 1), seconds=10)
    stack.wait_until(lambda: stack.django(TOLD)["held"] >= 1, seconds=10)
