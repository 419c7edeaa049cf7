"""Five hundred people use the site at once: they sign in, look around, upload, convert, wait for it and listen.

    python benchmarks/crowd.py [--users 500] [--minutes 10] [--pause 20] [--postgres]

Prints a Markdown table of every kind of request, and what became of the jobs. Any answer of 500 and above, any
connection that breaks and any job that is lost is counted, and the run fails if there was one. The people share the
machine with the site. The voices are the toy converter's: what is tried here is the site, not the engine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import websockets

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.visitor import Answer, Visitor, percentiles  # noqa: E402
from tests import postgres  # noqa: E402
from tests.sounds import speech, wav_bytes  # noqa: E402
from tests.stack import Stack, running, short_folder  # noqa: E402

PASSWORD = "a-long-walk-home-42"
FIRST = """
from pathlib import Path
from apps.accounts.models import User
from apps.voices.models import Voice
from apps.voices.services.consents import Terms, give_consent
from apps.voices.services.recordings import add_recording
from apps.voices.services.voices import create_voice
owner = User.objects.get(email="admin@localhost")
voice = create_voice(workspace=owner.workspaces.first(), user=owner, name="First")
give_consent(voice=voice, user=owner, terms=Terms("Anna Example", is_own_voice=True, speech=True, singing=True,
                                                   commercial=False, expires_on=None))
for path in paths:
    add_recording(voice=voice, user=owner, path=Path(path), name=Path(path).name)
"""
IDLE = "from apps.jobs.models import Job\nresult = not Job.objects.filter(ended_at=None).exists()"
INSTANT = """
from apps.accounts.models import User
from apps.voices.models import Voice
from apps.voices.services.training import make_instant
make_instant(voice=Voice.objects.get(), user=User.objects.get(email="admin@localhost"))
"""
# Everybody has a workspace of their own with one voice, which has its own copy of the same weights.
PEOPLE = """
from django.contrib.auth.hashers import make_password
from django.core.files.base import ContentFile
from allauth.account.models import EmailAddress
from apps.accounts.models import Membership, User, Workspace
from apps.jobs.models import Job
from apps.studio.forms import initial_of
from apps.studio.options import defaults
from apps.voices.models import Consent, Voice, VoiceModel
from django.utils import timezone
model = VoiceModel.objects.get()
weights, hashed, now = model.file.read(), make_password(password), timezone.now()
for number in range(users):
    user = User.objects.create(email=f"user{number}@example.org", password=hashed, name=f"User {number}")
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    workspace = Workspace.objects.create(name=f"Work {number}", slug=f"work-{number}")
    Membership.objects.create(workspace=workspace, user=user, role="owner")
    voice = Voice.objects.create(workspace=workspace, name="Anna", created_by=user)
    Consent.objects.create(voice=voice, statement="I agree.", full_name="Anna", is_own_voice=True, speech=True,
                           singing=True, given_by=user)
    job = Job.objects.create(workspace=workspace, created_by=user, kind="instant voice", title="Anna", task="none",
                             queue="gpu", status="done", progress=1.0, started_at=now, ended_at=now)
    made = VoiceModel(voice=voice, job=job, version=1, kind="instant", engine=model.engine, active=True,
                      seconds_of_audio=model.seconds_of_audio, sha256=model.sha256, size=model.size, card=model.card)
    made.file.save("model.voice", ContentFile(weights))
form = {name: value for name, value in initial_of(defaults()).items() if value is not None and value is not False}
voices = {voice.workspace.slug: str(voice.code) for voice in Voice.objects.select_related("workspace")}
result = {"form": form, "voices": voices}
"""
OUTCOME = """
from collections import Counter
from apps.jobs.models import Job
jobs = Job.objects.filter(kind="conversion")
waits = sorted((job.started_at - job.created_at).total_seconds() for job in jobs if job.started_at)
result = {"jobs": Counter(jobs.values_list("status", flat=True)), "waits": waits,
          "messages": sorted(set(jobs.exclude(status="done").values_list("message", flat=True)))}
"""


@dataclass
class Tally:
    """What all people met."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    converted: int = 0
    pushed: int = 0  # messages over sockets


class Person:
    """One user: signs in once, then does one thing after the other until the end."""

    def __init__(
        self, url: str, number: int, given: dict[str, Any], sounds: list[Path], tally: Tally, pause: float
    ) -> None:
        self.slug, self.number, self.tally, self.sounds, self.pause = f"work-{number}", number, tally, sounds, pause
        self.recordings = random.sample(sounds, len(sounds))  # a voice takes each only once
        self.form = {**given["form"], "voice": given["voices"][self.slug]}
        address = f"10.{number // 65536}.{number // 256 % 256}.{number % 256}"
        self.visitor = Visitor(url, {"X-Forwarded-For": address, "X-Forwarded-Proto": "http"})

    async def live(self, begin: float, end: float) -> None:
        """Come at ``begin``, go at ``end``; whatever breaks on the way is written down."""
        await asyncio.sleep(max(0.0, begin - time.monotonic()))
        try:
            await self.sign_in()
            listening = asyncio.create_task(self.listen())
            try:
                while time.monotonic() < end:
                    await random.choices([self.browse, self.convert, self.upload], [60, 2, 1])[0]()
                    await asyncio.sleep(self.pause * random.uniform(0.5, 1.5))
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
        except (OSError, TimeoutError, asyncio.IncompleteReadError, websockets.WebSocketException) as error:
            self.tally.faults.append(f"{self.slug}: {type(error).__name__} {error}")
        finally:
            await self.visitor.close()

    async def sign_in(self) -> None:
        await self.did("log-in page", self.visitor.get("/accounts/login/"))
        form = {"login": f"user{self.number}@example.org", "password": PASSWORD}
        answer = await self.did("log in", self.visitor.post("/accounts/login/", form))
        if answer.status != 302:
            self.tally.faults.append(f"{self.slug}: log-in answered {answer.status}")

    async def browse(self) -> None:
        pages = {
            "dashboard": "",
            "voices": "voices/",
            "voice": f"voices/{self.form['voice']}/",
            "convert": "convert/",
            "jobs": "jobs/",
        }
        name = random.choice(list(pages))
        await self.did(name, self.visitor.get(f"/w/{self.slug}/{pages[name]}"))

    async def upload(self) -> None:
        """Bring another recording to the voice, while there is one that it does not have."""
        if not self.recordings:
            return await self.browse()
        path = f"/w/{self.slug}/voices/{self.form['voice']}/recordings/add/"
        await self.did("upload a recording", self.visitor.post(path, {}, {"files": self.recordings.pop()}))

    async def convert(self) -> None:
        """Convert a new file, wait for it as the page does, and fetch the result."""
        path = f"/w/{self.slug}/convert/"
        sound = {"upload": random.choice(self.sounds)}
        answer = await self.did("submit a conversion", self.visitor.post(path, self.form, sound))
        found = re.search(
            rf"/w/{self.slug}/conversions/([0-9a-f-]+)/", answer.headers.get("location", "") + answer.text
        )
        if found is None:
            self.tally.faults.append(f"{self.slug}: no conversion, {answer.status}")
            return
        limit = time.monotonic() + 120
        while time.monotonic() < limit:
            await asyncio.sleep(2.0)
            page = await self.did("conversion page", self.visitor.get(found.group(0)))
            if audio := re.search(rf"/w/{self.slug}/artifacts/[0-9a-f-]+/", page.text):
                await self.did("fetch the result", self.visitor.get(audio.group(0)))
                self.tally.converted += 1
                return
        self.tally.faults.append(f"{self.slug}: no result after two minutes")

    async def listen(self) -> None:
        """Keep the socket of progress open, as every page does."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.visitor.cookies.items())
        url = self.visitor.url
        address = f"{url.replace('http', 'ws', 1)}/ws/w/{self.slug}/jobs/"
        async with websockets.connect(address, additional_headers={"Cookie": cookies}, origin=url) as socket:  # type: ignore[arg-type]
            async for _ in socket:
                self.tally.pushed += 1

    async def did(self, name: str, asking: Any) -> Answer:
        began = time.perf_counter()
        answer: Answer = await asking
        self.tally.seconds[name].append(time.perf_counter() - began)
        self.tally.statuses[answer.status] += 1
        if answer.status >= 400:
            self.tally.faults.append(f"{self.slug}: {name} answered {answer.status}")
        return answer


def main() -> None:
    """Measure and print; exit with 1 when anything was lost or broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--pause", type=float, default=20.0, help="seconds from an answer to the next click, on average"
    )
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL in place of SQLite")
    options = parser.parse_args()
    folder = short_folder()
    with ExitStack() as stack:
        settings = {"BEHIND_PROXY": "true", "OMP_NUM_THREADS": "1", "LOG_LEVEL": "WARNING"}
        if options.postgres:
            programs = postgres.programs() or sys.exit("PostgreSQL is missing: apt-get install postgresql")
            settings["DATABASE_URL"] = stack.enter_context(postgres.server(programs)).address
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        site = stack.enter_context(running(folder, **settings))
        sys.exit(measure(site, options))


def measure(site: Stack, options: argparse.Namespace) -> int:
    """Fill the site, let people come over the first half of the time, print what they met."""
    sounds = site.data / "sounds"
    sounds.mkdir()
    for seed in range(6):
        (sounds / f"{seed}.wav").write_bytes(wav_bytes(speech(3.0 + seed, seed=seed)))
    paths = sorted(sounds.iterdir())
    first = shutil.copytree(sounds, site.data / "first")  # what is taken in is moved away
    site.django(FIRST, paths=sorted(str(path) for path in first.iterdir()))
    site.wait_until(lambda: site.django(IDLE), seconds=120)
    site.django(INSTANT)
    site.wait_until(lambda: site.django(IDLE), seconds=120)
    given = site.django(PEOPLE, users=options.users, password=PASSWORD, timeout=600)
    tally = asyncio.run(crowd(site.url, options, given, paths))
    site.wait_until(lambda: site.django(IDLE), seconds=300)
    outcome = site.django(OUTCOME, timeout=120)
    log = site.log.read_text(errors="replace")
    given_as = f"{options.users} people, {options.minutes:g} min, a click each {options.pause:g} s"
    print(f"\n{os.cpu_count()} cores; {given_as}; milliseconds\n")
    print("| what | answers | median | P95 | P99 | worst |\n|---|---|---|---|---|---|")
    for name, seconds in [*tally.seconds.items(), ("all", sum(tally.seconds.values(), []))]:
        figures = percentiles(seconds, 0.5, 0.95, 0.99, 1.0)
        print(f"| {name} | {len(seconds)} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")
    waits = outcome["waits"]
    print(f"\nanswers by status: {dict(sorted(tally.statuses.items()))}; messages over sockets: {tally.pushed}")
    print(f"conversions: {outcome['jobs']}, {tally.converted} fetched; refusals: {outcome['messages']}")
    if waits:
        print(f"from submit to start: median {waits[len(waits) // 2]:.2f} s, worst {waits[-1]:.2f} s")
    print(f"faults: {len(tally.faults)} {Counter(fault.split(': ', 1)[1] for fault in tally.faults).most_common(8)}")
    if tally.faults:
        print(log[-3000:])
    return int(bool(tally.faults) or set(outcome["jobs"]) != {"done"})


async def crowd(url: str, options: argparse.Namespace, given: dict[str, Any], sounds: list[Path]) -> Tally:
    """Return what all people met, who come one after the other."""
    tally, seconds = Tally(), 60 * options.minutes
    now = time.monotonic()
    people = [Person(url, number, given, sounds, tally, options.pause) for number in range(options.users)]
    arrivals = [now + seconds / 2 * number / len(people) for number in range(len(people))]
    await asyncio.gather(*(person.live(begin, now + seconds) for person, begin in zip(people, arrivals, strict=True)))
    return tally


if __name__ == "__main__":
    main()
