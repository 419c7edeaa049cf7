"""Measures pages on this machine while a training runs: ten users click at once. Prints a Markdown table.

    python benchmarks/pages.py [--users 10] [--seconds 30] [--idle]

Starts the whole site on a temporary folder with a full workspace, trains a voice (not with ``--idle``), and has each
user, logged in, ask for page after page over a connection that stays open, pausing as a quick reader would.
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
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.sounds import speech, wav_bytes  # noqa: E402
from tests.stack import Stack, running, short_folder  # noqa: E402

PAUSE_SECONDS = (0.2, 0.8)  # between an answer and the next click
FILL = """
from importlib import import_module
from pathlib import Path
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.urls import reverse
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
cookies = []
for number in range(users):
    user = User.objects.create_user(f"user{number}@example.org", None)
    Membership.objects.create(workspace=workspace, user=user, role="editor")
    session = engine.SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    cookies.append(f"{settings.SESSION_COOKIE_NAME}={session.session_key}")
slug, code = workspace.slug, voices[0].code
pages = {
    "dashboard": reverse("pages:workspace", args=[slug]),
    "voices": reverse("voices:list", args=[slug]),
    "voice": reverse("voices:detail", args=[slug, code]),
    "convert": reverse("studio:convert", args=[slug]),
    "jobs": reverse("jobs:list", args=[slug]),
    "job": reverse("jobs:detail", args=[slug, Job.objects.filter(status="done").first().code]),
    "team": reverse("accounts:team", args=[slug]),
    "settings": reverse("accounts:settings", args=[slug]),
}
result = {"voice": voices[0].pk, "cookies": cookies, "pages": pages}
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
    parser.add_argument("--users", type=int, default=10)
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
    times = asyncio.run(click(site.url, filled["cookies"], filled["pages"], options.seconds))
    if training is not None:
        status = site.django(TRAINING, pk=training)
        if status[0] != "running":
            raise RuntimeError(f"the training ended before the measurement did: {status}")
    beside = "nothing" if options.idle else "a training"
    print(f"\n{os.cpu_count()} cores, load {load:.1f}; {options.users} users, beside {beside}; milliseconds\n")
    print("| page | answers | median | P95 | worst |\n|---|---|---|---|---|")
    for name, seconds in [*times.items(), ("all", sum(times.values(), []))]:
        ordered = sorted(1000 * value for value in seconds)
        figures = [ordered[int(part * (len(ordered) - 1))] for part in (0.5, 0.95, 1.0)]
        print(f"| {name} | {len(ordered)} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")


async def click(url: str, cookies: list[str], pages: dict[str, str], seconds: float) -> Times:
    """Return the seconds of each answer by page, from all users together."""
    times: Times = defaultdict(list)
    end = time.monotonic() + seconds
    await asyncio.gather(*(one_user(url, cookie, pages, end, times) for cookie in cookies))
    return times


async def one_user(url: str, cookie: str, pages: dict[str, str], end: float, times: Times) -> None:
    """Ask for pages in a random order until ``end``; any answer but 200 raises."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        await asyncio.sleep(random.random())
        while time.monotonic() < end:
            name, path = random.choice(list(pages.items()))
            began = time.perf_counter()
            request = f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nCookie: {cookie}\r\n\r\n"
            writer.write(request.encode())
            await read_answer(reader)
            times[name].append(time.perf_counter() - began)
            await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
    finally:
        writer.close()


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one answer to its end. Raises RuntimeError when it is not 200, TimeoutError after half a minute."""
    async with asyncio.timeout(30):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers: dict[str, Any] = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if " 200 " not in first + " ":
            raise RuntimeError(head)
        if "content-length" in headers:
            await reader.readexactly(int(headers["content-length"]))
            return
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()


if __name__ == "__main__":
    main()
