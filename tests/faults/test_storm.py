"""Two hundred jobs of all kinds in a storm: workers killed, Valkey and PostgreSQL crashed, the disk filled.

Every job ends exactly once, with the right result or a right refusal; files and rows match afterwards, and the ledger
has charged what was delivered.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from tests.sounds import speech, wav_bytes
from tests.stack import Stack, running, short_folder

JOBS = 200
DISK_BYTES = 1_000_000_000
BLOWS, PAUSES = 24, (3.0, 8.0)
# Each is a sentence that a user may see for a job that the storm could not let through.
REFUSALS = ("could not be had, again and again", "It stopped our machine again and again", "The model was deleted")

PREPARE = """
from pathlib import Path
from django.db import connection
from apps.accounts.models import User
from apps.accounts.services import create_workspace
from apps.voices.services.consents import Terms, give_consent
from apps.voices.services.recordings import add_recording
from apps.voices.services.voices import create_voice
with connection.cursor() as cursor:  # the database itself keeps the record of every move
    cursor.execute('''
        CREATE TABLE moves (job bigint, before text, after text, at timestamptz DEFAULT clock_timestamp());
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO moves VALUES (NEW.id, OLD.status, NEW.status); RETURN NEW; END $$;
        CREATE TRIGGER noted AFTER UPDATE OF status ON jobs_job FOR EACH ROW
        WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION note();
    ''')
user = User.objects.get(email="admin@localhost")
terms = Terms("Anna Example", is_own_voice=True, speech=True, singing=True, commercial=False, expires_on=None)
voices = []
for workspace in (user.workspaces.first(), create_workspace(user=user, name="Other")):
    for name in ("Anna", "Gone"):
        voice = create_voice(workspace=workspace, user=user, name=name)
        give_consent(voice=voice, user=user, terms=terms)
        for number, content in enumerate(takes):
            path = Path(folder) / f"{voice.pk}-{number}.wav"
            path.write_bytes(Path(content).read_bytes())
            add_recording(voice=voice, user=user, path=path, name=path.name)
        voices.append(voice.pk)
result = voices
"""
INSTANT = """
from apps.accounts.models import User
from apps.voices.models import Voice
from apps.voices.services.training import make_instant
user = User.objects.get(email="admin@localhost")
for voice in Voice.objects.filter(models=None):
    make_instant(voice=voice, user=user)
"""
IDLE = """
from apps.jobs.models import Job
result = not Job.objects.filter(ended_at=None).exists()
"""
# Made by hand what an upload makes: the storm is about what runs behind it.
SUBMIT = """
import random
from pathlib import Path
from django.core.files.uploadedfile import TemporaryUploadedFile
from apps.accounts.models import User
from apps.studio.options import defaults
from apps.studio.services import add_source, submit_conversion
from apps.voices.models import Voice
from apps.voices.services.recordings import add_recording
from apps.voices.services.training import make_instant, train
user = User.objects.get(email="admin@localhost")
chance = random.Random(seed)
for number in range(count):
    voice = Voice.objects.get(pk=chance.choice(voices[::2]))
    kind = chance.choice(["convert"] * 6 + ["train", "instant", "slice", "slice"])
    content = Path(chance.choice(sources)).read_bytes()
    if kind == "train":
        train(voice=voice, user=user, options={"preset": "fast", "steps": 1500, "save_seconds": 1.0})
    elif kind == "instant":
        make_instant(voice=voice, user=user)
    elif kind == "slice":
        path = Path(folder) / f"{seed}-{number}.wav"
        path.write_bytes(content + chance.randbytes(16))  # no two alike
        add_recording(voice=voice, user=user, path=path, name=path.name)
    else:
        upload = TemporaryUploadedFile("source.wav", "audio/wav", len(content), None)
        upload.write(content)
        upload.flush()
        source = add_source(workspace=voice.workspace, user=user, upload=upload)
        submit_conversion(workspace=voice.workspace, user=user, voice=voice, source=source,
                          options={**defaults(), "format": "flac"}, seed=7)
"""
REFUSED = """
from apps.accounts.models import User
from apps.studio.models import Source
from apps.studio.options import defaults
from apps.studio.services import submit_conversion
from apps.voices.models import Voice
from apps.voices.services.training import delete_model
from django.db import transaction
user = User.objects.get(email="admin@localhost")
for pk in voices[1::2]:
    voice = Voice.objects.get(pk=pk)
    with transaction.atomic():  # no worker sees the jobs before the model is gone
        for _ in range(5):
            submit_conversion(workspace=voice.workspace, user=user, voice=voice,
                              source=voice.workspace.sources.first(), options=defaults(), seed=7)
        delete_model(model=voice.active_model, user=user)
"""
HURRY = """
from django.utils import timezone
from apps.jobs.models import Job
Job.objects.filter(not_before__gt=timezone.now()).update(not_before=timezone.now())
result = [Job.objects.filter(ended_at=None).count(), Job.objects.count()]
"""
OUTCOME = """
import hashlib
import math
from datetime import timedelta
from collections import Counter
from unittest import mock
from django.db import connection
from apps.billing.models import UsageEvent
from apps.jobs import orphans
from apps.jobs.models import Artifact, Job
from apps.studio.models import Conversion
from apps.voices.models import Recording, VoiceModel
with connection.cursor() as cursor:
    cursor.execute("SELECT job, count(*) FROM moves WHERE after IN ('done', 'failed', 'cancelled') GROUP BY job")
    ends = dict(cursor.fetchall())
    cursor.execute("SELECT before, after, count(*) FROM moves GROUP BY before, after")
    moves = cursor.fetchall()
jobs = list(Job.objects.order_by("pk"))
result = {
    "ends": [ends.get(job.pk, 0) for job in jobs],
    "moves": moves,
    "jobs": [[job.kind, job.status, job.message, job.attempt, job.retries] for job in jobs],
    "seconds": [(job.ended_at - job.created_at).total_seconds() for job in jobs],
}
def whole(file, sha256):
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest() == sha256
done = Conversion.objects.filter(job__status="done").select_related("source")
audio = {row.pk: list(row.job.artifacts.filter(kind="audio")) for row in done}
result["one_result_each"] = all(len(found) == 1 for found in audio.values())
result["exact"] = all(found[0].data["seconds"] == row.source.duration for row in done for found in [audio[row.pk]])
result["whole"] = all(whole(found[0].file, found[0].sha256) for found in audio.values())
result["sounds"] = len({(row.source_id, row.voice_id, row.model_id, audio[row.pk][0].sha256) for row in done})
result["asked"] = len({(row.source_id, row.voice_id, row.model_id) for row in done})
result["none_left"] = not Artifact.objects.filter(job__conversion__isnull=False).exclude(job__status="done").exists()
models = VoiceModel.objects.filter(job__status="done")
result["models_whole"] = all(whole(model.file, model.sha256) for model in models)
result["models_of_failed"] = VoiceModel.objects.exclude(job__status="done").exclude(file="").count()
takes = Counter()
for recording in Recording.objects.filter(job__status="done"):
    takes[recording.takes.count()] += 1
result["takes"] = sorted(takes)
# The ledger: for each job that cost something one row, charged by what was delivered, or given back.
charged = {"convert_seconds": 0, "train_minutes": 0}
delivered = {"convert_seconds": sum(math.ceil(audio[row.pk][0].data["seconds"]) for row in done),
             "train_minutes": sum(max(1, math.ceil(model.training_seconds / 60)) for model in models)}
# Two instant voices were delivered, and deleted by their owner afterwards.
instant = [job for job in jobs if job.kind == "instant voice" and job.status == "done"]
delivered["train_minutes"] += sum(not models.filter(job=job).exists() for job in instant)
for event in UsageEvent.objects.filter(state="settled"):
    charged[event.meter] += event.spent + event.waived
result["charged"], result["delivered"] = charged, delivered
states = Counter((job.status, job.usage.state) for job in jobs if job.usage is not None)
result["states"] = sorted([*pair, count] for pair, count in states.items())
result["free"] = sorted({job.kind for job in jobs if job.usage is None})
result["strays"] = UsageEvent.objects.filter(jobs=None).count()
with mock.patch.object(orphans, "GRACE", timedelta(0)):
    result["swept"] = [orphans.sweep_orphans(), orphans.sweep_orphans()]
"""


@dataclass
class Storm:
    """What strikes a site, one blow after the other, chosen by a seed."""

    site: Stack
    database: postgres.Server
    chance: random.Random
    struck: Counter[str] = field(default_factory=Counter)

    def strike(self) -> None:
        """Deal one blow, and let it last for a moment."""
        blows: list[Callable[[], None]] = [
            self.kill_a_worker,
            self.kill_a_work_horse,
            self.kill_a_work_horse,
            self.kill_valkey,
            self.crash_the_database,
            self.fill_the_disk,
        ]
        blow = self.chance.choice(blows)
        blow()
        self.struck[blow.__name__] += 1

    def kill_a_worker(self) -> None:
        mark = f" worker {self.chance.choice(['gpu', 'default'])}"
        self._kill(lambda line: mark in line)

    def kill_a_work_horse(self) -> None:
        workers = {pid for pid, line in self.site.processes().items() if " worker " in line}
        horses = [pid for pid in workers if _parent(pid) in workers]
        for pid in horses[: self.chance.randint(1, 2)]:
            _kill(pid)

    def kill_valkey(self) -> None:
        self._kill(lambda line: "valkey-server" in line)

    def crash_the_database(self) -> None:
        self.database.crash()
        time.sleep(self.chance.uniform(0.2, 2.0))
        self.database.start()

    def fill_the_disk(self) -> None:
        filler = self.site.data / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(1_000_000)):
                pass
        time.sleep(self.chance.uniform(1.0, 3.0))
        filler.unlink()

    def _kill(self, chosen: Callable[[str], bool]) -> None:
        for pid, line in self.site.processes().items():
            if chosen(line):
                _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, signal.SIGKILL)


def _parent(pid: int) -> int:
    try:
        return int((Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except FileNotFoundError:
        return 0


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own with little room, in `folder`."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that is filled")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], check=True, timeout=10)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


@pytest.fixture
def material(tmp_path: Path) -> dict[str, Any]:
    """Recordings to train on, and sources to convert."""
    for seed in range(4):
        (tmp_path / f"take-{seed}.wav").write_bytes(wav_bytes(speech(20.0, seed=seed)))
        (tmp_path / f"source-{seed}.wav").write_bytes(wav_bytes(speech(2.0 + seed, seed=10 + seed)))
    inbox = tmp_path / "in"
    inbox.mkdir()
    return {
        "takes": sorted(map(str, tmp_path.glob("take-*"))),
        "sources": sorted(map(str, tmp_path.glob("source-*"))),
        "folder": str(inbox),
    }


def persist(site: Stack, code: str, **given: Any) -> Any:
    """Do as ``Stack.django``, again until the storm lets it through."""
    limit = time.monotonic() + 120
    while True:
        try:
            return site.django(code, **given)
        except AssertionError:
            site.close_shell()
            if time.monotonic() > limit:
                raise
            time.sleep(0.5)


@pytest.mark.slow
def test_two_hundred_jobs_survive_a_storm(material: dict[str, Any]) -> None:
    seed = int(os.environ.get("FAULT_SEED") or time.time())
    print(f"FAULT_SEED={seed}")
    chance = random.Random(seed)
    folder = short_folder()
    with postgres.server(postgres.require()) as database, small_disk(folder):
        settings = {"DATABASE_URL": database.address, "JOB_HEARTBEAT_SECONDS": "1", "JOB_LOST_AFTER_SECONDS": "4"}
        with running(folder, **settings, OMP_NUM_THREADS="1") as site:
            voices = site.django(PREPARE, **material)
            site.wait_until(lambda: site.django(IDLE), seconds=180)
            site.django(INSTANT)
            site.wait_until(lambda: site.django(IDLE), seconds=120)
            before = site.django(HURRY)[1]
            began = time.monotonic()
            site.django(SUBMIT, voices=voices, seed=seed, count=JOBS // 4, **material, timeout=300)
            site.django(REFUSED, voices=voices)
            storm = Storm(site, database, chance)
            submitted = unfinished = -1
            while unfinished != 0 or submitted - before < JOBS:
                if sum(storm.struck.values()) < BLOWS:
                    storm.strike()
                time.sleep(chance.uniform(*PAUSES))
                if submitted - before < JOBS:
                    persist(site, SUBMIT, voices=voices, seed=seed + submitted, count=15, **material)
                # The waits for a next try are cut short: they are minutes.
                unfinished, submitted = persist(site, HURRY)
                print(f"{time.monotonic() - began:.0f} s: {unfinished} of {submitted} unfinished, {dict(storm.struck)}")
                assert site.process.poll() is None, site.log.read_text()[-4000:]
                assert time.monotonic() - began < 900, site.log.read_text()[-4000:]
            outcome = site.django(OUTCOME, timeout=120)
            log = site.log.read_text(errors="replace")
    shutil.rmtree(folder, ignore_errors=True)
    report(outcome, storm, time.monotonic() - began)

    assert submitted - before >= JOBS
    assert set(outcome["ends"]) == {1}, Counter(outcome["ends"])
    failed = [job for job in outcome["jobs"] if job[1] != "done"]
    wrong = [job for job in failed if not any(words in job[2] for words in REFUSALS)]
    print("\n".join(told(log, job[2]) for job in wrong))
    assert not wrong
    assert sum("The model was deleted" in job[2] for job in failed) >= 8, "they were to be refused"
    assert len(failed) <= 10 + 0.1 * JOBS, failed
    assert outcome["one_result_each"] and outcome["exact"] and outcome["whole"] and outcome["none_left"]
    assert outcome["sounds"] == outcome["asked"], "the same conversion twice gave two sounds"
    assert outcome["models_whole"] and outcome["models_of_failed"] == 0
    assert outcome["charged"] == outcome["delivered"], "the ledger says otherwise than the files"
    legal = {("done", "settled"), ("failed", "released"), ("cancelled", "released")}
    assert {(job, usage) for job, usage, _ in outcome["states"]} <= legal, outcome["states"]
    assert outcome["free"] == ["slicing"] and outcome["strays"] == 0
    assert outcome["swept"][1] == {"orphans": 0, "missing": 0}
    assert outcome["swept"][0]["missing"] == 0, log[-4000:]


def told(log: str, sentence: str) -> str:
    """Return what the log says about the error that a sentence names."""
    _, _, rest = log.partition(sentence.rpartition("(error ")[2].rstrip(").") or sentence)
    return rest[:4000]


def report(outcome: dict[str, Any], storm: Storm, seconds: float) -> None:
    """Print the figures that docs/reliability.md shows."""
    jobs = outcome["jobs"]
    print(
        json.dumps(
            {
                "seconds": round(seconds),
                "blows": dict(storm.struck),
                "jobs": Counter(f"{kind} {status}" for kind, status, *_ in jobs),
                "attempts": sum(job[3] for job in jobs),
                "retries": sum(job[4] for job in jobs),
                "moves": outcome["moves"],
                "orphans": outcome["swept"][0],
                "charged": outcome["charged"],
                "ledger": outcome["states"],
                "takes": outcome["takes"],
            },
            indent=1,
        )
    )
