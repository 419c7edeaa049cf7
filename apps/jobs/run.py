"""What the body of a task works with: its job, folders, the engine, and the ways to report and to keep files."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import lzma
import shutil
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.utils import timezone

from apps.jobs import faults, services
from apps.jobs.engines import load_engine
from apps.jobs.events import publish
from apps.jobs.folders import folder_of
from apps.jobs.models import Artifact, Job, Status
from ml.errors import Cancelled

if TYPE_CHECKING:
    from ml.engine import Engine

log = logging.getLogger(__name__)
REPORTS_PER_SECOND = 2.0
MIRROR_EVERY_SECONDS = 60.0
# What zipfile raises for archives with any bit wrong: a flag of encryption makes it a RuntimeError, an offset OSError.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, OSError)


class Run:
    """One attempt at a job, as its body sees it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.attempt = job.attempt
        self.folder = folder_of(job.code) / f"run-{job.attempt}"
        self.workdir = folder_of(job.code) / "work"
        self._reported_at = 0.0
        self._mirrored_at = time.monotonic()
        self._kept_at = 0
        self._expected: dict[str, Any] = {}
        self.delivered: int | None = None  # in the meter's unit, for the ledger; None is all that was set aside

    @cached_property
    def engine(self) -> Engine:
        """The engine with the converter that the settings name."""
        return self.engine_for(settings.DEFAULT_CONVERTER)

    def engine_for(self, converter: str) -> Engine:
        """Return the engine with a named converter: that of the voice model at hand."""
        return load_engine(converter)

    def open(self) -> None:
        """Make the folders; fetch the kept work folder if the attempt before this one ran on another machine."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        marker = folder_of(self.job.code) / "attempt"
        here = marker.exists() and marker.read_text() == str(self.attempt - 1)
        if self.job.checkpoint and not here:
            self._restore()
        self.workdir.mkdir(exist_ok=True)
        marker.write_text(str(self.attempt))

    def close(self) -> None:
        """Remove the temporary folder; the work folder goes with the job's end."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def fetch(self, file: FieldFile) -> Path:
        """Copy a stored file into the temporary folder, under a name of our own."""
        path = self.folder / uuid.uuid4().hex
        with file.open("rb") as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, 1024 * 1024)
        return path

    def report(self, fraction: float, stage: str) -> None:
        """Show progress (``fraction`` 0..1 and words for the user), at most twice a second.

        Raises ``Cancelled`` when the user asked to stop, or when the job is no longer this attempt's.
        """
        now = time.monotonic()
        if now - self._reported_at < 1.0 / REPORTS_PER_SECOND:
            return
        self._reported_at = now
        mine = Job.objects.filter(pk=self.job.pk, status=Status.RUNNING, attempt=self.attempt, cancel_requested_at=None)
        shown = min(1.0, max(0.0, fraction))
        if not mine.update(progress=shown, stage=stage[:100], heartbeat_at=timezone.now(), **self._expected):
            raise Cancelled
        publish(self.job)
        if self._work_changed():
            self.keep_checkpoint()

    def expect(self, seconds_left: float) -> None:
        """Let the next ``report`` show how long it will take from now on, in seconds."""
        self._expected = {"expected_end_at": timezone.now() + timedelta(seconds=seconds_left)}

    def say(self, sentence: str) -> None:
        """Show the user at once, beside the progress, what did not go as planned; the next such sentence replaces it.

        Raises ``Cancelled`` when the job is no longer this attempt's.
        """
        log.warning("job %s: %s", self.job.code, sentence)
        mine = Job.objects.filter(pk=self.job.pk, status=Status.RUNNING, attempt=self.attempt)
        if not mine.update(message=sentence[:500]):
            raise Cancelled
        publish(self.job)

    def keep(
        self,
        path: Path,
        *,
        kind: Artifact.Kind,
        name: str,
        content_type: str,
        data: dict[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Artifact:
        """Store a file as the job's artifact; a second of the same kind and name takes the first one's place.

        It is kept until ``expires_at``, or as long as its job. Raises ``Cancelled`` when the job is no longer this
        attempt's.
        """
        artifact = self.store(path, kind=kind, name=name, content_type=content_type, data=data, expires_at=expires_at)
        with self.stored([artifact]), self.guarded():
            self.record(artifact)
        return artifact

    def store(
        self,
        path: Path,
        *,
        kind: Artifact.Kind,
        name: str,
        content_type: str,
        data: dict[str, Any] | None = None,
        expires_at: datetime | None = None,
    ) -> Artifact:
        """Put a file into the storage, and return the row that ``record`` is to write: the first half of ``keep``.

        It may take long, so it is done outside of any transaction, and inside ``stored``.
        """
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
        artifact = Artifact(
            workspace=self.job.workspace,
            job=self.job,
            kind=kind,
            name=name[:200],
            content_type=content_type,
            size=path.stat().st_size,
            sha256=digest,
            data=data or {},
            expires_at=expires_at,
        )
        with path.open("rb") as handle:
            artifact.file.save(path.name, File(handle), save=False)
        return artifact

    def record(self, artifact: Artifact) -> None:
        """Write the row of a stored file, in the caller's transaction; that of an earlier one goes with its file."""
        earlier = Artifact.objects.filter(job=self.job, kind=artifact.kind, name=artifact.name).first()
        if earlier is not None:
            earlier.delete()
            replaced = earlier.file
            transaction.on_commit(lambda: replaced.delete(save=False), robust=True)
        artifact.save()
        publish(self.job)

    @contextlib.contextmanager
    def stored(self, artifacts: list[Artifact]) -> Iterator[None]:
        """Remove the files of these artifacts again when what is inside fails and no row names them."""
        try:
            yield
        except BaseException:
            for artifact in artifacts:
                # Asked, as the rows may be there all the same: the answer to a commit can be lost.
                if not Artifact.objects.filter(file=artifact.file.name).exists():
                    artifact.file.delete(save=False)
            raise

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Write rows in one transaction that holds only while the job is still this attempt's.

        Raises ``Cancelled`` otherwise, so that a worker given up for lost writes nothing.
        """
        with transaction.atomic():
            mine = Job.objects.select_for_update().filter(pk=self.job.pk, status=Status.RUNNING, attempt=self.attempt)
            if mine.first() is None:
                raise Cancelled
            yield

    @contextlib.contextmanager
    def result(self) -> Iterator[None]:
        """Write the rows of the result and end the job as done, in one transaction: both happen or neither."""
        with self.guarded():
            yield
            services.end(self.job.pk, status=Status.DONE, attempt=self.attempt, delivered=self.delivered)

    def keep_checkpoint(self) -> None:
        """Say that the work folder holds a newer checkpoint, as ``report`` does when it sees one.

        At most once a minute a copy goes to the storage, so that another machine can go on from it.
        """
        Job.objects.filter(pk=self.job.pk, attempt=self.attempt, checkpoint_attempt__lt=self.attempt).update(
            checkpoint_attempt=self.attempt
        )
        if time.monotonic() - self._mirrored_at >= MIRROR_EVERY_SECONDS:
            self._mirror()
            self._mirrored_at = time.monotonic()

    def _work_changed(self) -> bool:
        """Say whether a file of the work folder is newer than when this was asked last; the first answer is no."""
        newest = max((path.stat().st_mtime_ns for path in self.workdir.iterdir()), default=0)
        changed = newest > self._kept_at > 0
        self._kept_at = max(newest, self._kept_at, 1)
        return changed

    def end(self, status: Status, *, message: str = "", error_id: str = "") -> None:
        """End the job if it is still this attempt's."""
        services.end(
            self.job.pk,
            status=status,
            message=message,
            error_id=error_id,
            attempt=self.attempt,
            delivered=self.delivered,
        )

    def _mirror(self) -> None:
        packed = self.folder / "work.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for path in sorted(self.workdir.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(self.workdir).as_posix())
        job = Job.objects.select_related("workspace").get(pk=self.job.pk)
        earlier = job.checkpoint.name or ""
        with packed.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
            job.checkpoint.save(f"{digest}.zip", File(handle), save=False)
        packed.unlink()
        mine = Job.objects.filter(pk=job.pk, status=Status.RUNNING, attempt=self.attempt)
        if mine.update(checkpoint=job.checkpoint.name):
            if earlier:
                default_storage.delete(earlier)
        else:
            job.checkpoint.delete(save=False)

    def _restore(self) -> None:
        shutil.rmtree(self.workdir, ignore_errors=True)
        self.workdir.mkdir(parents=True)
        name = str(self.job.checkpoint.name)
        try:
            handle = self.job.checkpoint.open("rb")
        except FileNotFoundError:
            log.exception("job %s: its kept work folder %s is gone", self.job.code, name)
            self.say("The kept copy of its work is gone, so it begins anew.")
            return
        with handle:
            whole = hashlib.file_digest(handle, "sha256").hexdigest() in name
            handle.seek(0)
            if whole:
                with zipfile.ZipFile(handle) as archive:
                    archive.extractall(self.workdir)
                return
            saved, lost = self._salvage(handle)
        log.error("job %s: its kept work folder %s is damaged; lost: %s", self.job.code, name, lost)
        if saved:
            self.say("A part of the kept copy of its work was damaged; it goes on from what was whole.")
        else:
            self.say("The kept copy of its work was damaged, so it begins anew.")

    def _salvage(self, handle: File[bytes]) -> tuple[list[str], list[str]]:
        """Bring back the files of a damaged archive that are whole; return the names of these, and of the others."""
        saved: list[str] = []
        lost: list[str] = []
        try:
            with zipfile.ZipFile(handle) as archive:
                for info in archive.infolist():
                    (saved if self._extract(archive, info) else lost).append(info.filename)
        except _DAMAGED as error:
            if faults.passing(error) is not None:  # no room to unpack it, say
                raise
            lost.append(f"all others ({error})")
        return saved, lost

    def _extract(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
        """Bring one file back if it is whole, by the check sum that is kept with it; say whether it is."""
        try:
            with archive.open(info) as stream:  # its end is where the check sum is compared
                while stream.read(1024 * 1024):
                    pass
        except _DAMAGED:
            return False
        archive.extract(info, self.workdir)
        return True
