"""Measures pages and calls of the API on this machine while many ask at once. Prints a Markdown table.

    python benchmarks/pages.py [--users 50] [--seconds 30] [--idle]

Starts the whole site on a temporary folder with a full workspace, trains a voice (not with ``--idle``), and has each
user, half of them people who are logged in and half programs with a key, ask for one thing after the other over a
connection that stays open, pausing as a quick reader would.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.visitor import Visitor, percentiles  # noqa: E402
from tests.sounds import speech, wav_bytes  # noqa: E402
from tests.stack import Stack, running, short_folder  # noqa: E402

PAUSE_SECONDS = (0.2, 0.8)  # between an answer and the next click
FILL = """
from importlib import import_module
from pathlib import Path
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.urls import reverse
from apps.accounts import keys
from apps.accounts.models import Membership, User
from apps.jobs.models import Job
from apps.voices.services.consents import Terms, give_consent
from apps.voices.services.recordings import add_recording
from apps.voices.services.voices import create_voice
from django.utils import timezone
owner = User.objects.get(email="admin@localhost")
workspace = owner.workspaces.first()
voices = [create_voice(workspace=workspace, user=owner, name=f"Voice {number}") for number in range(12)]
terms = Terms("Anna Example", is_own_voice=True, speech=True, singing=True, commercial=False, expires_on=None)
give_consent(voice=voices[0], user=owner, terms=terms)
for number, path in enumerate(paths):
    add_recording(voice=voices[0], user=owner, path=Path(path), name=f"{number}.wav")
now = timezone.now()
Job.objects.bulk_create(Job(workspace=workspace, created_by=owner, kind="conversion", title=f"Take {number} as Voice 0",
    task="none", queue="gpu", status="done", progress=1.0, started_at=now, ended_at=now) for number in range(200))
engine = import_module(settings.SESSION_ENGINE)
cookies, tokens = [], []
for number in range(users):
    user = User.objects.create_user(f"user{number}@example.org", None)
    member = Membership.objects.create(workspace=workspace, user=user, role="editor")
    tokens.append(keys.issue(membership=member, name="Benchmark", scope="read")[1])
    session = engine.SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    cookies.append({settings.SESSION_COOKIE_NAME: session.session_key})
slug, code, job = workspace.slug, voices[0].code, Job.objects.filter(status="done").first()
pages = {
    "dashboard": reverse("pages:workspace", args=[slug]),
    "voices": reverse("voices:list", args=[slug]),
    "voice": reverse("voices:detail", args=[slug, code]),
    "convert": reverse("studio:convert", args=[slug]),
    "jobs": reverse("jobs:list", args=[slug]),
    "job": reverse("jobs:detail", args=[slug, job.code]),
    "team": reverse("accounts:team", args=[slug]),
    "usage": reverse("billing:usage", args=[slug]),
    "settings": reverse("accounts:settings", args=[slug]),
}
paths = ("/voices", f"/voices/{code}", f"/voices/{code}/recordings", "/conversions", "/jobs", f"/jobs/{job.code}",
         "/usage", "/limits")
calls = {f"GET {path}".replace(str(code), "...").replace(str(job.code), "..."): f"/api/v1{path}" for path in paths}
result = {"voice": voices[0].pk, "cookies": cookies, "keys": tokens, "pages": pages, "calls": calls}
"""
SLICED = "from apps.jobs.models import Job\nresult = not Job.objects.filter(ended_at=None).exists()"
TRAIN = """
from apps.accounts.models import User
from apps.voices.models import Voice
from apps.voices.services.training import train
user = User.objects.get(email="admin@localhost")
result = train(voice=Voice.objects.get(pk=voice), user=user, options={"preset": "quality"}).job.pk
"""
TRAINING = (
    "from apps.jobs.models import Job\njob = Job.objects.get(pk=pk)\nresult = [job.status, job.stage, job.message]"
)
Times = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--idle", action="store_true", help="without a training beside it")
    options = parser.parse_args()
    folder = short_folder()
    try:
        with running(folder, DEFAULT_CONVERTER="native") as site:
            measure(site, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(site: Stack, options: argparse.Namespace) -> None:
    """Fill the site, start the training, let the users click, print the table."""
    sounds = site.data / "sounds"
    sounds.mkdir()
    for seed in range(4):
        (sounds / f"{seed}.wav").write_bytes(wav_bytes(speech(22.0, seed=seed)))
    filled = site.django(FILL, paths=sorted(map(str, sounds.iterdir())), users=options.users)
    site.wait_until(lambda: site.django(SLICED), seconds=300)
    training = None if options.idle else site.django(TRAIN, voice=filled["voice"])
    if training is not None:
        site.wait_until(lambda: "step" in site.django(TRAINING, pk=training)[1], seconds=300)
    load = os.getloadavg()[0]
    times = asyncio.run(click(site.url, filled, options.seconds))
    if training is not None:
        status = site.django(TRAINING, pk=training)
        if status[0] != "running":
            raise RuntimeError(f"the training ended before the measurement did: {status}")
    beside = "nothing" if options.idle else "a training"
    print(f"\n{os.cpu_count()} cores, load {load:.1f}; {options.users} users, beside {beside}; milliseconds\n")
    print("| what | answers | median | P95 | worst |\n|---|---|---|---|---|")
    both = {
        f"all {what}": sum((times[name] for name in filled[what] if name in times), []) for what in ("pages", "calls")
    }
    for name, seconds in [*sorted(times.items()), *both.items()]:
        figures = percentiles(seconds, 0.5, 0.95, 1.0)
        print(f"| {name} | {len(seconds)} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")


async def click(url: str, filled: dict[str, Any], seconds: float) -> Times:
    """Return the seconds of each answer by place, from all users together: every other one is a program."""
    times: Times = defaultdict(list)
    end = time.monotonic() + seconds
    people = [(Visitor(url, cookies=dict(jar)), filled["pages"]) for jar in filled["cookies"][::2]]
    programs = [(Visitor(url, {"Authorization": f"Bearer {key}"}), filled["calls"]) for key in filled["keys"][1::2]]
    await asyncio.gather(*(one_user(visitor, places, end, times) for visitor, places in people + programs))
    return times


async def one_user(visitor: Visitor, places: dict[str, str], end: float, times: Times) -> None:
    """Ask for places in a random order until ``end``; any answer but 200 raises."""
    try:
        await asyncio.sleep(random.random())
        while time.monotonic() < end:
            name, path = random.choice(list(places.items()))
            began = time.perf_counter()
            answer = await visitor.get(path)
            times[name].append(time.perf_counter() - began)
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}: {answer.text[:500]}")
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
    finally:
        await visitor.close()


if __name__ == "__main__":
    main()
