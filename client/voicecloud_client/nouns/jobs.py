"""Jobs and the files that they make."""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from voicecloud_client.decoding import given
from voicecloud_client.downloads import download
from voicecloud_client.errors import JobFailed, StillRunning, UnexpectedAnswer
from voicecloud_client.events import events
from voicecloud_client.models import Artifact, Job
from voicecloud_client.nouns.noun import Code, Noun, at
from voicecloud_client.transport import Progress


class Jobs(Noun):
    """What runs in the queue."""

    def list(
        self, *, kind: str | None = None, status: str | None = None, since: datetime | None = None
    ) -> Iterator[Job]:
        """Yield jobs, newest first; ``status`` may also be ``unfinished``, ``since`` needs a time zone."""
        return self._wire.items(Job, at("jobs"), given(kind=kind, status=status, since=since))

    def get(self, job: Code) -> Job:
        """Return one job."""
        return self._wire.json(Job, "GET", at("jobs", job))

    def cancel(self, job: Code) -> Job:
        """Stop a job: at once when it waits, within seconds when it runs."""
        return self._wire.json(Job, "POST", at("jobs", job, "cancel"))

    def retry(self, job: Code) -> Job:
        """Run a failed or cancelled job again."""
        return self._wire.json(Job, "POST", at("jobs", job, "retry"))

    def artifacts(self, job: Code) -> builtins.list[Artifact]:
        """Return the files that a job made, in the order in which it made them."""
        return self._wire.json(builtins.list[Artifact], "GET", at("jobs", job, "artifacts"))

    def watch(self, job: Code) -> Iterator[Job]:
        """Yield a job as it goes on, until it has ended; connected anew whenever the connection is lost."""
        return (seen for seen in events(self._wire, at("jobs", job, "events"), one=True) if seen is not None)

    def watch_all(self) -> Iterator[Job]:
        """Yield all jobs of the workspace as they go on, for ever: first those that are not finished."""
        return (seen for seen in events(self._wire, at("events"), one=False) if seen is not None)

    def wait(self, job: Code, *, progress: Callable[[Job], None] | None = None, timeout: float | None = None) -> Job:
        """Return a job when it is done; ``progress`` is told of each change.

        Raises JobFailed when it fails or is cancelled, StillRunning when that takes longer than ``timeout`` seconds
        (told some seconds later at most; the job goes on).
        """
        until = None if timeout is None else time.monotonic() + timeout
        last: Job | None = None
        for seen in events(self._wire, at("jobs", job, "events"), one=True):
            last = seen or last
            if seen is not None and progress is not None:
                progress(seen)
            if last is not None and last.ended_at is None and until is not None and time.monotonic() > until:
                raise StillRunning(last)
        if last is None:
            raise UnexpectedAnswer("The server told nothing of this job.")
        if last.status != "done":
            raise JobFailed(last)
        return last


class Artifacts(Noun):
    """Files that jobs made."""

    def get(self, artifact: Code) -> Artifact:
        """Return what is known of a file."""
        return self._wire.json(Artifact, "GET", at("artifacts", artifact))

    def download(self, artifact: Code, target: Path, *, sha256: str = "", progress: Progress | None = None) -> Path:
        """Save a file. With the ``sha256`` that ``get`` tells it is compared, and a broken download goes on."""
        return download(self._wire, at("artifacts", artifact, "download"), target, sha256=sha256, progress=progress)
