"""Recordings: taken in when their bytes are sound, kept as received, sliced into takes by a job."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import IntegrityError, transaction
from django.urls import reverse

from apps.accounts.models import User
from apps.accounts.services import audit
from apps.billing.services import holdings
from apps.errors import Refused
from apps.jobs.models import UNFINISHED
from apps.jobs.services import cancel, submit
from apps.voices import tasks
from apps.voices.media import content_type_of, shown_name
from apps.voices.models import Recording, Take, Voice, VoiceModel, recording_path
from apps.voices.services.files import remove, remove_on_commit, store
from apps.voices.services.locks import require_unlocked
from ml.errors import AudioError
from ml.probe import AudioInfo, Limits, probe

# Each check is a child process with up to a gigabyte of address space: a few at a time, the others wait their turn.
_CHECKS = threading.BoundedSemaphore(2)
_WAIT_SECONDS = 60


@dataclass(frozen=True)
class Fate:
    """What became of one file of an upload: its recording, or a sentence and a status of 4xx or 503."""

    name: str
    status: int
    message: str = ""
    recording: Recording | None = None

    @property
    def ok(self) -> bool:
        """Say whether the file was taken in."""
        return self.recording is not None


def add_recording(
    *,
    voice: Voice,
    user: User,
    path: Path,
    name: str,
    script: str = "",
    keep: Callable[[str, Path], str] = store,
    announced: int = 0,
) -> Recording:
    """Take in the file at ``path`` (it is moved away) as a recording of ``voice`` and submit its slicing.

    ``name`` is what the user calls it, only ever shown; ``script`` is what was read aloud; ``keep`` puts the file at a
    path into the storage under a name and returns its name there; ``announced`` bytes of it count as stored already.
    Raises Refused: 413 too large, 409 the same bytes are there already, 422 no usable sound, 503 too many checks at
    once, 402 for a locked voice; QuotaExceeded (402) when the plan's storage has no room for it.
    """
    size = path.stat().st_size
    check_size(size)
    require_unlocked(voice)
    sha256 = _hash(path)
    _refuse_twin(voice, sha256)
    info = inspect(path)
    recording = Recording(
        voice=voice,
        name=shown_name(name),
        size=size,
        sha256=sha256,
        container=info.container,
        codec=info.codec,
        content_type=content_type_of(info.container),
        duration=info.duration,
        sample_rate=info.sample_rate,
        channels=info.channels,
        script=script,
    )
    recording.file.name = keep(recording_path(recording, ""), path)
    try:
        _insert(recording, user, recording.size - announced)
    except BaseException:
        remove([str(recording.file.name)])
        raise
    return recording


def receive(*, voice: Voice, user: User, path: Path, name: str, script: str = "") -> Fate:
    """Do as ``add_recording`` does, with a no as an answer instead of an exception: a batch loses nothing else."""
    try:
        recording = add_recording(voice=voice, user=user, path=path, name=name, script=script)
    except Refused as refused:
        return Fate(shown_name(name), refused.status, refused.message)
    return Fate(recording.name, 201, recording=recording)


def check_size(size: int) -> None:
    """Raise Refused (413) for a file of more bytes than are accepted."""
    if size > settings.UPLOAD_MAX_BYTES:
        most = settings.UPLOAD_MAX_BYTES / 2**20
        raise Refused(
            f"The file has {size / 2**20:.0f} MB; at most {most:.0f} MB are accepted, so split it or export it as "
            "FLAC or MP3.",
            status=413,
        )


def delete_recording(*, recording: Recording, user: User) -> None:
    """Delete a recording with its takes, their files on commit. Raises Refused (409) while a training uses it."""
    if VoiceModel.objects.filter(takes__recording=recording, job__status__in=UNFINISHED).exists():
        raise Refused("A training uses this recording now; wait for its end or cancel it first.", status=409)
    if recording.job is not None and not recording.job.is_finished:
        cancel(recording.job)
    voice = recording.voice
    with transaction.atomic():
        remove_on_commit([recording.file, *recording.takes.values_list("file", flat=True)])
        audit(
            workspace=voice.workspace,
            user=user,
            action="recording.deleted",
            target=f"{voice.name}: {recording.name}"[:200],
        )
        recording.delete()


def toggle_take(take: Take) -> Take:
    """Drop a take from the next training, or take it back in."""
    take.dropped = not take.dropped
    take.save(update_fields=["dropped"])
    return take


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_twin(voice: Voice, sha256: str) -> None:
    twin = voice.recordings.filter(sha256=sha256).first()
    if twin is not None:
        raise Refused(f"This voice has the same recording already, called “{twin.name}”; send another.", status=409)


def inspect(path: Path) -> AudioInfo:
    """Return what the file at ``path`` is. Raises Refused: 422 no usable sound, 503 too many checks at once."""
    if not _CHECKS.acquire(timeout=_WAIT_SECONDS):
        raise Refused("Many files are being checked right now; send this one again in a minute.", status=503)
    try:
        return probe(path, limits=Limits(bytes=settings.UPLOAD_MAX_BYTES, seconds=settings.UPLOAD_MAX_SECONDS))
    except AudioError as error:
        raise Refused(str(error), status=422) from None
    finally:
        _CHECKS.release()


def _insert(recording: Recording, user: User, more: int) -> None:
    voice = recording.voice
    try:
        with transaction.atomic():
            holdings.require_storage(voice.workspace, more)
            recording.job = submit(
                workspace=voice.workspace,
                user=user,
                kind="slicing",
                title=f"Listening to {recording.name}"[:200],
                task=tasks.slice_recording,
                queue="default",
                url=reverse("voices:detail", args=[voice.workspace.slug, voice.code]),
                time_limit=1800,
            )
            recording.save()
    except IntegrityError:
        # Another request brought the same bytes between the look and the insert.
        _refuse_twin(voice, recording.sha256)
        raise
