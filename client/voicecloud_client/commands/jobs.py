"""``voicecloud jobs``: list, show, watch, download, cancel, retry."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from voicecloud_client.commands.context import Context, Subparsers, save, wait_for
from voicecloud_client.errors import VoicecloudError
from voicecloud_client.models import Job
from voicecloud_client.terminal import Bar

_STATES = ("unfinished", "queued", "running", "done", "failed", "cancelled")
_ACTIONS = {
    "show": "what is known of a job",
    "watch": "wait for its end",
    "download": "save the files that it made, once it is done",
    "cancel": "stop it",
    "retry": "run a failed or cancelled one again",
}


def add(subparsers: Subparsers, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    jobs = subparsers.add_parser("jobs", help=f"list, {', '.join(_ACTIONS)}").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    listed = jobs.add_parser("list", parents=[common], help="newest first")
    listed.add_argument("--status", choices=_STATES)
    listed.add_argument("--kind", help="for example training, conversion")
    listed.add_argument("--limit", type=int, default=20, metavar="N", help="how many at most; 0: all")
    listed.set_defaults(run=list_jobs)
    runs = {"show": show, "watch": watch, "download": download, "cancel": cancel, "retry": retry}
    for name, meaning in _ACTIONS.items():
        parser = jobs.add_parser(name, parents=[common], help=meaning)
        parser.add_argument("job", metavar="JOB", help="its id")
        if name == "download":
            parser.add_argument("--out", type=Path, default=Path(), metavar="FOLDER")
        parser.set_defaults(run=runs[name])


def list_jobs(context: Context) -> int:
    """Show jobs."""
    given = context.given
    found = context.client.jobs.list(kind=given.kind, status=given.status)
    jobs = list(islice(found, given.limit or None))
    rows = [
        (each.id, each.status, f"{each.progress:.0%}", f"{each.created_at:%Y-%m-%d %H:%M}", each.title) for each in jobs
    ]
    context.screen.table(jobs, ("id", "status", "done", "begun", "title"), rows, "There are no such jobs.")
    return 0


def _shown(context: Context, job: Job) -> int:
    lines = [job.title, f"{job.status}, {job.progress:.0%}{f', {job.stage}' if job.stage else ''}"]
    lines += [job.message] if job.message else []
    lines += [f"Fault {job.error_id}"] if job.error_id else []
    context.screen.show(job, *lines)
    return 0


def show(context: Context) -> int:
    """Show one job."""
    return _shown(context, context.client.jobs.get(context.given.job))


def watch(context: Context) -> int:
    """Wait for a job's end. Raises JobFailed."""
    job = context.client.jobs.get(context.given.job)
    return _shown(context, wait_for(context, job.id, job.title))


def download(context: Context) -> int:
    """Wait for a job's end, then save the files that it made. Raises JobFailed."""
    job = context.client.jobs.get(context.given.job)
    wait_for(context, job.id, job.title)
    artifacts = [each for each in context.client.jobs.artifacts(job.id) if not each.expired]
    if not artifacts:
        raise VoicecloudError("This job has no file to save: it made none, or they have expired.")
    for artifact in artifacts:
        with Bar(artifact.name) as bar:
            saved = save(context.client, artifact, context.given.out, progress=bar.bytes("saving"))
        context.screen.show({"artifact": artifact, "saved": str(saved)}, str(saved))
    return 0


def cancel(context: Context) -> int:
    """Stop a job."""
    return _shown(context, context.client.jobs.cancel(context.given.job))


def retry(context: Context) -> int:
    """Run a job again."""
    return _shown(context, context.client.jobs.retry(context.given.job))
