"""The one way a stored file leaves the site: whole or in ranges, under a safe name, never held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import unicodedata
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from django.core.files.storage import FileSystemStorage
from django.core.handlers.asgi import ASGIRequest
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header, http_date, parse_http_date_safe

from apps.errors import Refused
from apps.jobs.storage import HEARD_SECONDS, SIGNED_SECONDS

logger = logging.getLogger(__name__)

BLOCK_BYTES = 256 * 1024
LONGEST_NAME = 150  # characters; file systems end at 255 bytes
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)  # longer numbers name no byte of any file
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


def serve(request: HttpRequest, file: FieldFile, *, content_type: str, name: str, attachment: bool) -> HttpResponseBase:
    """Answer a GET or HEAD with the bytes of ``file``, offered to the user as ``name``.

    Local files are read in blocks and honour ``Range`` (206, or 416 when nothing of it is there), ``If-Range`` and
    ``If-None-Match`` (304). Files in an object store are answered by a redirect to a short-lived signed address, where
    the store does the same. Only audio is ever shown inline: anything else is an attachment. Raises Refused (410) when
    the file is gone; for sound that is played from an object store nobody asks, as each question takes time.
    """
    attachment = attachment or not content_type.startswith("audio/")
    disposition = content_disposition_header(attachment, safe_name(name)) or "inline"
    if not isinstance(file.storage, FileSystemStorage):
        return _redirect(request, file, disposition, content_type, attachment)
    path = Path(file.storage.path(str(file.name)))
    try:
        status = path.stat()
    except FileNotFoundError:
        raise _gone(file) from None
    response = _answer(request, path, status)
    response["Content-Type"] = content_type
    response["Content-Disposition"] = disposition
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    # Each use asks again, so that who has left the workspace hears nothing more; the ETag makes that cheap.
    response["Cache-Control"] = "private, no-cache"
    return response


def _redirect(
    request: HttpRequest, file: FieldFile, disposition: str, content_type: str, attachment: bool
) -> HttpResponseBase:
    if attachment and not file.storage.exists(str(file.name)):
        raise _gone(file)
    signed = file.storage.url(
        file.name,
        parameters={"ResponseContentDisposition": disposition, "ResponseContentType": content_type},  # type: ignore[call-arg]  # what S3 stores take
        expire=SIGNED_SECONDS if attachment else HEARD_SECONDS,
        http_method=request.method,  # the signature is for this one alone
    )
    response = HttpResponseRedirect(signed)
    # A browser that kept it would go to an address whose time is over.
    response["Cache-Control"] = "private, no-store"
    return response


def _gone(file: FieldFile) -> Refused:
    logger.error("stored file is missing: %s", file.name)
    return Refused("This file is no longer stored here; make it again.", status=410)


def safe_name(name: str) -> str:
    """Return ``name`` as a file name for any system: no path, no control characters, at most LONGEST_NAME long."""
    cleaned = _UNSAFE.sub("-", unicodedata.normalize("NFC", name)).strip(" .-")
    stem, dot, suffix = cleaned.rpartition(".")
    if dot and len(suffix) <= 5:
        return f"{stem[: LONGEST_NAME - len(suffix) - 1].rstrip()}.{suffix}"
    return cleaned[:LONGEST_NAME].rstrip() or "file"


def _answer(request: HttpRequest, path: Path, status: os.stat_result) -> HttpResponseBase:
    """Return the response with its body, length and validators; ``serve`` adds what is the same for all."""
    identity = f"{path.name}:{status.st_size}:{status.st_mtime_ns}"
    etag = f'"{hashlib.sha256(identity.encode()).hexdigest()[:32]}"'
    modified = int(status.st_mtime)
    size = status.st_size
    span = _wanted(request, size, etag, modified)
    response: HttpResponseBase
    if span is None:
        response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    else:
        start, length = span
        response = _body(request, path, start, length)
        response["Content-Length"] = str(length)
        if length < size:
            response.status_code = 206
            response["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = etag
    response["Last-Modified"] = http_date(modified)
    conditional = get_conditional_response(request, etag, modified, response)  # type: ignore[arg-type]
    assert conditional is not None  # it returns what it was given, or a 304 or 412
    if conditional is not response:
        response.close()
    return conditional


def _wanted(request: HttpRequest, size: int, etag: str, modified: int) -> tuple[int, int] | None:
    """Return (first byte, number of bytes) of what the request asks for; None when no byte of it is there.

    As RFC 9110 (14.2) allows, a malformed ``Range``, one of several parts, and one whose ``If-Range`` no longer
    matches are passed over: the answer is then the whole file.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    condition = request.headers.get("If-Range")
    if condition and condition != etag and parse_http_date_safe(condition) != modified:
        match = None
    if match is None or match.group() == "bytes=-":
        return 0, size
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        return (size - length, length) if length else None
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if last and int(last) < start <= size - 1:
        return 0, size  # a range that ends before it begins is malformed
    return (start, end - start + 1) if start < size else None


def _body(request: HttpRequest, path: Path, start: int, length: int) -> HttpResponseBase:
    if request.method == "HEAD":
        return HttpResponse()
    handle = path.open("rb")
    handle.seek(start)
    # Under ASGI Django would read a plain iterator to its end before it sends the first byte.
    blocks = _blocks_async(handle, length) if isinstance(request, ASGIRequest) else _blocks(handle, length)
    response = StreamingHttpResponse(blocks)
    response._resource_closers.append(handle.close)  # type: ignore[attr-defined]  # as FileResponse does
    return response


def _blocks(handle: BinaryIO, length: int) -> Iterator[bytes]:
    while length and (block := handle.read(min(BLOCK_BYTES, length))):
        length -= len(block)
        yield block


async def _blocks_async(handle: BinaryIO, length: int) -> AsyncIterator[bytes]:
    while length and (block := await asyncio.to_thread(handle.read, min(BLOCK_BYTES, length))):
        length -= len(block)
        yield block
