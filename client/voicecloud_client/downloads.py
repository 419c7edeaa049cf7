"""Files from the site to a folder: under a temporary name until they are whole, and on from where they stopped."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from pathlib import Path
from typing import IO

import httpx

from voicecloud_client.errors import DamagedFile
from voicecloud_client.transport import Progress, Transport, error_of, pause, unreachable, wait_of


def download(wire: Transport, path: str, target: Path, *, sha256: str = "", progress: Progress | None = None) -> Path:
    """Save what is at ``path`` as ``target``, replacing it, and return that.

    With a ``sha256`` the file is compared with it, and what an earlier call left behind is gone on from. Raises
    ApiError, ConnectionFailed after ``retries`` tries without a new byte, DamagedFile, and OSError for the disk.
    """
    # Short, whatever the target is called, and the same whenever the same file goes to the same name.
    mark = hashlib.sha256(sha256.encode() + os.fsencode(target.name)).hexdigest() if sha256 else uuid.uuid4().hex
    part = target.with_name(f".{mark[:32]}.part")
    try:
        with part.open("ab") as file:
            _fetch(wire, path, file, resume=bool(sha256), progress=progress)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        if not sha256:
            part.unlink(missing_ok=True)  # nobody could tell later what it is a part of
        raise
    if sha256 and _sha256(part) != sha256:
        part.unlink()
        raise DamagedFile(f"“{target.name}” arrived damaged and was not kept; download it again.")
    part.replace(target)
    return target


def _fetch(wire: Transport, path: str, file: IO[bytes], *, resume: bool, progress: Progress | None) -> None:
    """Write all bytes to the end of ``file``, which may have the first of them, however often that is interrupted."""
    etag, failures = "", 0
    while True:
        at = file.tell()
        try:
            # A file without a known hash is gone on from only while its ETag is the same.
            condition = {"If-Range": etag} if etag and not resume else {}
            wanted = {"Range": f"bytes={at}-", **condition} if at else {}
            with wire.http.stream("GET", path, headers=wanted | _AS_IT_IS, follow_redirects=True) as answer:
                if at and answer.status_code == 416:
                    return  # all of it was there already; whether it is the right file, the hash tells
                if not answer.is_success:
                    answer.read()
                    error = error_of(answer)
                    wait = wait_of(error, failures)
                    if wait is None or failures >= wire.retries:
                        raise error
                    failures += 1
                    time.sleep(wait)
                    continue
                etag = answer.headers.get("ETag", "")
                _write(answer, file, progress)
                return
        except httpx.TransportError as error:
            failures = 0 if file.tell() > at else failures + 1
            if failures > wire.retries:
                raise unreachable(wire.url, error) from error
            time.sleep(pause(failures))


_AS_IT_IS = {"Accept-Encoding": "identity"}


def _write(answer: httpx.Response, file: IO[bytes], progress: Progress | None) -> None:
    if answer.status_code != 206:
        file.seek(0)
        file.truncate()
    length = answer.headers.get("Content-Length", "")
    size = file.tell() + int(length) if length.isdigit() else 0
    for block in answer.iter_raw():
        file.write(block)
        if progress is not None:
            progress(file.tell(), size)
    if size and file.tell() < size:
        raise httpx.ReadError("The connection ended before the file did.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
