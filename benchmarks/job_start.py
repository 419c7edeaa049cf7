"""Measures the queue on this machine: from submit to start, reading where a job stands, and from cancel to stopped.

    python benchmarks/job_start.py [--jobs 30] [--postgres]

Prints a Markdown table. Starts the whole site on an empty temporary folder, with SQLite or with a PostgreSQL of its
own, and uses its idle workers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests import postgres  # noqa: E402
from tests.stack import Stack, running, short_folder  # noqa: E402

SUBMIT = """
import time
from apps.accounts.models import User
from apps.jobs.services import submit
from tests.jobs import bodies
workspace = User.objects.get(email="admin@localhost").workspaces.first()
began = time.perf_counter()
job = submit(workspace=workspace, user=None, kind="benchmark", title=body, task=getattr(bodies, body), queue=queue)
result = [job.pk, time.perf_counter() - began]
"""
LOOK = """
from apps.jobs.models import Job
job = Job.objects.get(pk=pk)
seconds = lambda later, earlier: later and earlier and (later - earlier).total_seconds()
result = {"status": job.status, "progress": job.progress, "waited": seconds(job.started_at, job.created_at),
          "stopping": seconds(job.ended_at, job.cancel_requested_at)}
"""
CARD = """
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.urls import reverse
from apps.accounts.models import User
from apps.jobs.models import Job
job = Job.objects.select_related("workspace").get(pk=pk)
user = User.objects.get(email="admin@localhost")
session = import_module(settings.SESSION_ENGINE).SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
cookie = f"{settings.SESSION_COOKIE_NAME}={session.session_key}"
result = [reverse("jobs:card", args=[job.workspace.slug, job.code]), cookie]
"""
CANCEL = "from apps.jobs.models import Job\nfrom apps.jobs.services import cancel\ncancel(Job.objects.get(pk=pk))"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=30)
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL in place of SQLite")
    options = parser.parse_args()
    folder = short_folder()
    with ExitStack() as stack:
        settings = {}
        if options.postgres:
            programs = postgres.programs() or sys.exit("PostgreSQL is missing: apt-get install postgresql")
            settings["DATABASE_URL"] = stack.enter_context(postgres.server(programs)).address
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        site = stack.enter_context(running(folder, **settings))
        name = "PostgreSQL" if options.postgres else "SQLite"
        print(f"\n{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.jobs} jobs a row, ms\n")
        print("| what | bar | median | P95 | worst |\n|---|---|---|---|---|")
        measure(site, options.jobs)


def measure(site: Stack, jobs: int) -> None:
    """Print the rows of the table."""
    for queue in ("gpu", "default"):
        runs = [one(site, "succeed", queue) for _ in range(jobs)]
        row(f"submit, {queue}", "50", [submitted for submitted, _ in runs])
        row(f"queue to start, {queue}, idle worker", "250", [look["waited"] for _, look in runs])
    row("read where a job stands (its card, over HTTP)", "20", read_card(site, 10 * jobs))
    few = max(3, jobs // 10)
    row("cancel, a body that listens", "5000", [stopped(site, "work_for_a_minute") for _ in range(few)])
    row("cancel, a body that does not", "5000", [stopped(site, "hear_nothing") for _ in range(few)])


def read_card(site: Stack, count: int) -> list[float]:
    """Return the seconds of so many requests for a running job's card, over one connection that stays open."""
    pk, _ = site.django(SUBMIT, body="work_for_a_minute", queue="gpu")
    path, cookie = site.django(CARD, pk=pk)
    wire = HTTPConnection(urlsplit(site.url).netloc, timeout=10)
    seconds = []
    for number in range(count + 20):
        began = time.perf_counter()
        wire.request("GET", path, headers={"Cookie": cookie})
        answer = wire.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        if number >= 20:  # the first ones open connections and compile templates
            seconds.append(time.perf_counter() - began)
    site.django(CANCEL, pk=pk)
    until(site, pk, "status", "cancelled")
    return seconds


def one(site: Stack, body: str, queue: str) -> tuple[float, dict[str, Any]]:
    """Return how long the submit took (seconds) and the job once it has ended."""
    pk, submitted = site.django(SUBMIT, body=body, queue=queue)
    look = until(site, pk, "status", "done")
    time.sleep(0.2)  # the worker is idle again
    return submitted, look


def stopped(site: Stack, body: str) -> float:
    """Return the seconds from the cancel to the end of a job under way."""
    pk, _ = site.django(SUBMIT, body=body, queue="gpu")
    while site.django(LOOK, pk=pk)["progress"] == 0.0:
        time.sleep(0.05)
    site.django(CANCEL, pk=pk)
    return float(until(site, pk, "status", "cancelled")["stopping"])


def until(site: Stack, pk: int, name: str, value: str) -> dict[str, Any]:
    """Return the job once ``name`` is ``value``. Raises TimeoutError after a minute."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        look: dict[str, Any] = site.django(LOOK, pk=pk)
        if look[name] == value:
            return look
        time.sleep(0.05)
    raise TimeoutError(f"job {pk} is not {value} within a minute")


def row(what: str, bar: str, seconds: Sequence[float]) -> None:
    """Print one row of the table."""
    ordered = sorted(1000 * value for value in seconds)
    median, late = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    print(f"| {what} | {bar} | {median:.0f} | {late:.0f} | {ordered[-1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
