"""Uploads. Resumable ones: parts are kept in the storage as they come, and joined to a recording once all are there."""

from __future__ import annotations

import os
import tempfile
import uuid
from datetime import timedelta
from pathlib import Path
from typing import IO, BinaryIO

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import User
from apps.billing.services import holdings
from apps.errors import Refused
from apps.jobs import orphans
from apps.voices.media import shown_name
from apps.voices.models import Recording, Upload, Voice
from apps.voices.services.files import remove, remove_on_commit, store
from apps.voices.services.locks import require_unlocked
from apps.voices.services.recordings import add_recording, check_size

MOST_OPEN = 100  # uploads of one voice that are not finished
MOST_PARTS = 1000  # of one upload: small parts cost more than they carry
KEPT_FOR = timedelta(days=1)
_BLOCK = 256 * 1024


def begin(*, voice: Voice, user: User, name: str, size: int) -> Upload:
    """Announce a file of ``size`` bytes, which count as stored from here on.

    Raises Refused: 413 too large, 422 empty, 429 too many unfinished, 402 for a locked voice; QuotaExceeded (402)
    when the plan's storage has no room for it.
    """
    check_size(size)
    require_unlocked(voice)
    if size == 0:
        raise Refused("The file is empty; record or export it again.", status=422)
    if voice.uploads.count() >= MOST_OPEN:
        raise Refused("Too many uploads of this voice are unfinished; finish or cancel some first.", status=429)
    with transaction.atomic():
        holdings.require_storage(voice.workspace, size)
        return Upload.objects.create(voice=voice, user=user, name=shown_name(name), size=size)


def append(*, upload: Upload, offset: int, source: BinaryIO) -> Upload:
    """Keep the bytes that start at ``offset`` and return the upload as it stands then.

    Raises Refused: 409 when the upload is not at ``offset`` (any more) or is a direct one, 413 when more comes than was
    announced, 429 when it came in too many parts.
    """
    if upload.direct:
        raise Refused("This file goes to the storage itself, not here; start another upload.", status=409)
    if upload.offset != offset:
        raise Refused(f"The upload stands at byte {upload.offset}, not {offset}; go on from there.", status=409)
    if len(upload.parts) >= MOST_PARTS:
        raise Refused("The file came in too many small parts; send it again in larger ones.", status=429)
    with tempfile.NamedTemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="part-", delete=False) as part:
        path = Path(part.name)
        try:
            received = _copy(source, part, upload.size - offset)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    try:
        return _keep_part(upload, offset, received, path) if received else upload
    finally:
        path.unlink(missing_ok=True)


def finish(*, upload: Upload) -> Recording:
    """Make the recording of an upload whose bytes are all there; either way the upload is gone afterwards.

    Raises Refused as ``add_recording`` does, and 409 while bytes are missing.
    """
    if upload.offset != upload.size:
        raise Refused(f"The upload has {upload.offset} of {upload.size} bytes; send the rest.", status=409)
    path = _join(upload)
    try:
        recording = add_recording(
            voice=upload.voice, user=upload.user, path=path, name=upload.name, announced=upload.size
        )
    except Refused as refused:
        if refused.status != 503:  # then nothing is wrong with the file: it may be finished later
            abandon(upload)
        raise
    finally:
        path.unlink(missing_ok=True)
    abandon(upload)
    return recording


def abandon(upload: Upload) -> None:
    """Forget an upload and its parts."""
    with transaction.atomic():
        remove_on_commit(upload.parts)
        upload.delete()


def sweep_uploads() -> int:
    """Forget uploads that nobody has touched for a day, and pieces that none of them names; return how many."""
    stale = Upload.objects.filter(touched_at__lt=timezone.now() - KEPT_FOR)
    count = 0
    for upload in stale:
        abandon(upload)
        count += 1
    for workspace in orphans.next_folders("uploads-cursor"):
        count += _sweep_pieces(f"{workspace}/{orphans.UPLOADS}")
    return count


def _sweep_pieces(folder: str) -> int:
    """Remove what a browser put there after its upload was forgotten, or a kill left behind, once it is a day old."""
    codes = orphans.listed(folder)[0]
    alive = {str(code) for code in Upload.objects.filter(code__in=codes).values_list("code", flat=True)}
    return sum(
        orphans.remove_old(f"{folder}/{code}/{name}")
        for code in codes
        if code not in alive
        for name in orphans.listed(f"{folder}/{code}")[1]
    )


def _copy(source: BinaryIO, target: IO[bytes], most: int) -> int:
    received = 0
    while block := source.read(_BLOCK):
        received += len(block)
        if received > most:
            raise Refused("More bytes came than were announced; start this upload again.", status=413)
        target.write(block)
    target.flush()
    return received


def _keep_part(upload: Upload, offset: int, received: int, path: Path) -> Upload:
    name = store(f"{upload.folder}/{offset:012d}-{uuid.uuid4().hex}", path)
    parts = [*upload.parts, name]
    # Two requests may bring the same bytes: only the one that finds the offset unmoved has kept them.
    kept = Upload.objects.filter(pk=upload.pk, offset=offset).update(
        offset=offset + received, parts=parts, touched_at=timezone.now()
    )
    if not kept:
        remove([name])
        raise Refused("Another request has brought these bytes; ask for the offset and go on from there.", status=409)
    upload.offset, upload.parts = offset + received, parts
    return upload


def _join(upload: Upload) -> Path:
    descriptor, name = tempfile.mkstemp(dir=settings.FILE_UPLOAD_TEMP_DIR, prefix="joined-")
    with os.fdopen(descriptor, "wb") as whole:
        for part in upload.parts:
            with default_storage.open(part) as source:
                while block := source.read(_BLOCK):
                    whole.write(block)
    return Path(name)
