"""Uploads that go from the browser to the object store: announced here, put there, looked at and taken in here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from apps.accounts.models import User
from apps.errors import Refused
from apps.jobs.storage import Changed, ObjectStore, SignedUpload
from apps.voices.models import Recording, Upload, Voice
from apps.voices.services import uploads
from apps.voices.services.recordings import add_recording

# A request that takes in a file and has been silent for so long has died with its process.
CLAIM_LASTS = timedelta(minutes=10)


def is_offered() -> bool:
    """Say whether browsers may send files to the storage itself."""
    return isinstance(default_storage, ObjectStore)


def begin(*, voice: Voice, user: User, name: str, size: int) -> tuple[Upload, SignedUpload]:
    """Announce a file of ``size`` bytes and return where the browser may put it.

    Raises Refused as ``uploads.begin`` does, and 409 when the storage takes no files from browsers.
    """
    store = _store()
    with transaction.atomic():
        upload = uploads.begin(voice=voice, user=user, name=name, size=size)
        upload.direct, upload.parts = True, [f"{upload.folder}/whole"]
        upload.save(update_fields=["direct", "parts"])
    return upload, store.sign_upload(upload.parts[0], size=size)


def finish(*, upload: Upload) -> Recording:
    """Make the recording of a file that the browser has put into the store; the upload is gone afterwards.

    The bytes are looked at as those of any other upload, and the very same ones become the recording, without leaving
    the store again. Raises Refused as ``add_recording`` does, and 409 when the file is not there (yet), is not of the
    size that was announced, was exchanged meanwhile, or is being taken in by another request.
    """
    store = _store()
    if not upload.direct:
        raise Refused("This upload comes in parts; send them to its own address.", status=409)
    with _claimed(upload):
        try:
            recording = _take_in(store, upload)
        except Refused as refused:
            if refused.status == 503:  # then nothing is wrong with the file: it may be finished later
                raise
            uploads.abandon(upload)
            raise
        uploads.abandon(upload)
    return recording


def _store() -> ObjectStore:
    if not isinstance(default_storage, ObjectStore):
        raise Refused("Files are sent to the site itself here, in parts.", status=409)
    return default_storage


def _take_in(store: ObjectStore, upload: Upload) -> Recording:
    [name] = upload.parts
    try:
        size, etag = store.size_and_etag(name)
    except FileNotFoundError:
        raise Refused("The file has not arrived in the storage; send it again.", status=409) from None
    if size != upload.size:
        raise Refused(f"{size} bytes arrived of {upload.size} that were announced; send the file again.", status=409)

    def keep(target: str, path: Path) -> str:
        store.copy(name, target, etag=etag)
        return target

    with tempfile.TemporaryDirectory(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="direct-") as folder:
        path = Path(folder) / "whole"
        try:
            store.fetch(name, path, etag=etag)
            return add_recording(
                voice=upload.voice, user=upload.user, path=path, name=upload.name, keep=keep, announced=upload.size
            )
        except Changed:
            raise Refused("The file was exchanged while it was checked; send it again.", status=409) from None


@contextmanager
def _claimed(upload: Upload) -> Iterator[None]:
    """Hold the upload for this request alone; a failure gives it back."""
    now = timezone.now()
    free = Q(claimed_at=None) | Q(claimed_at__lt=now - CLAIM_LASTS)
    if not Upload.objects.filter(free, pk=upload.pk).update(claimed_at=now, touched_at=now):
        raise Refused("This file is being checked already; wait a moment and load the page again.", status=409)
    try:
        yield
    except BaseException:
        Upload.objects.filter(pk=upload.pk, claimed_at=now).update(claimed_at=None)
        raise
