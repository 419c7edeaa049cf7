"""All that a workspace owns as one ZIP file: its rows as JSON, its stored files as they are, and a manifest.

Written as a stream: neither a file nor a table is ever held in memory whole.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import FileField, ForeignKey, Model, QuerySet
from django.utils import timezone

from apps.accounts.models import ApiKey, AuditEvent, Invitation, Membership, User, Workspace
from apps.billing.models import Grant, Subscription, UsageEvent
from apps.jobs.downloads import safe_name
from apps.jobs.models import Artifact, Job
from apps.studio.models import Batch, Conversion, ConversionPreset, Source
from apps.voices.models import Consent, Recording, Take, Voice, VoiceModel
from apps.webhooks.models import Endpoint

FORMAT = 1
BLOCK_BYTES = 1024 * 1024
ROWS_AT_ONCE = 200
Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Document:
    """One kind of row: where its rows are found, which of their columns are nobody's business, how a file is called."""

    model: type[Model]
    place: str  # the look-up from the row to its workspace
    left_out: frozenset[str] = frozenset()
    file: str = ""  # the column that names a stored file
    call: Callable[[Any], str] = str
    more: Callable[[Any], dict[str, Any]] = field(default=lambda row: {})
    with_it: tuple[str, ...] = ()  # what ``more`` reads of other tables

    def rows(self, workspace: Workspace) -> QuerySet[Any]:
        """Return the workspace's rows, with what their columns point to."""
        links = [link.name for link in self.model._meta.concrete_fields if isinstance(link, ForeignKey)]
        rows = self.model._default_manager.filter(**{self.place: workspace.pk}).select_related(*links)
        rows = rows.prefetch_related(*self.with_it)
        # An archive in an archive would make the next one twice as large.
        return rows.exclude(kind=Artifact.Kind.EXPORT) if self.model is Artifact else rows

    def facts(self, row: Any, path: str | None) -> dict[str, Any]:
        """Return a row as JSON shows it: people by address, other rows by code, a stored file by its place here."""
        found: dict[str, Any] = {}
        for column in self.model._meta.concrete_fields:
            if column.primary_key or column.name == "workspace" or column.name in self.left_out:
                continue
            value = getattr(row, column.name)
            if isinstance(column, FileField):
                value = path
            elif isinstance(column, ForeignKey) and value is not None:
                value = value.email if isinstance(value, User) else value.code
            found[column.name] = value
        return found | self.more(row)


def _with_code(row: Any, name: str) -> str:
    # The code makes it unique and no device's name; what a user typed is cleaned, never a path, and short in bytes too.
    cleaned = PurePosixPath(safe_name(name))
    return f"{row.code}-{_cut(cleaned.stem, 150)}{_cut(cleaned.suffix, 20)}"


def _cut(text: str, most: int) -> str:
    return text.encode()[:most].decode(errors="ignore")


def _statement(consent: Consent) -> str:
    return f"{consent.code}{mimetypes.guess_extension(consent.recording_type) or ''}"


DOCUMENTS: dict[str, Document] = {
    "members": Document(Membership, "workspace", more=lambda row: {"name": row.user.name}),
    "invitations": Document(Invitation, "workspace", frozenset({"token_hash"})),
    "voices": Document(Voice, "workspace"),
    "consents": Document(Consent, "voice__workspace", file="recording", call=_statement),
    "recordings": Document(
        Recording, "voice__workspace", file="file", call=lambda row: _with_code(row, row.name or "recording")
    ),
    "takes": Document(Take, "recording__voice__workspace", file="file", call=lambda row: f"{row.code}.flac"),
    "models": Document(
        VoiceModel,
        "voice__workspace",
        file="file",
        call=lambda row: _with_code(row, f"{row.voice.name} {row.version}.voice"),
        more=lambda row: {"takes": list(row.takes.order_by("pk").values_list("code", flat=True))},
    ),
    "sources": Document(Source, "workspace", file="file", call=lambda row: _with_code(row, row.name)),
    "batches": Document(Batch, "workspace"),
    "conversions": Document(Conversion, "workspace"),
    "presets": Document(ConversionPreset, "workspace"),
    "outputs": Document(Artifact, "workspace", file="file", call=lambda row: _with_code(row, row.name)),
    "jobs": Document(Job, "workspace", frozenset({"task", "worker", "request_id", "checkpoint"})),
    "webhooks": Document(
        Endpoint, "workspace", frozenset({"sealed_secret", "sealed_previous_secret", "previous_secret_until"})
    ),
    "api_keys": Document(ApiKey, "workspace", frozenset({"key_hash", "old_key_hash"})),
    "subscription": Document(Subscription, "workspace"),
    "grants": Document(Grant, "workspace"),
    "usage": Document(
        UsageEvent,
        "workspace",
        more=lambda row: {"from_grants": {str(draw.grant.code): draw.amount for draw in row.draws.all()}},
        with_it=("draws__grant",),
    ),
    "audit": Document(AuditEvent, "workspace"),
}
LEFT_OUT = {
    "jobs.Fault": "where our own code failed; it goes after a month",
    "billing.Draw": "usage.json has what each use took of which grant",
    "billing.Notice": "that a letter about usage was sent",
    "webhooks.Delivery": "copies of what jobs.json holds, as they were sent; they go after a while",
    "webhooks.Attempt": "how a copy was sent; it goes with it",
    "jobs.Share": "whose turn it is in the queues says nothing of what the workspace owns",
    "api.ApiCall": "answers that a program may ask for again within a day; they hold nothing else",
    "voices.Upload": "an upload that is not finished is no recording yet, and goes after a day",
}
"""What a workspace owns and does not get, with the reason."""


@dataclass
class Contents:
    """What came into an archive."""

    rows: dict[str, int] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)  # path, bytes, sha256
    missing: list[str] = field(default_factory=list)  # paths of files that were gone when their turn came

    @property
    def summary(self) -> dict[str, Any]:
        """Return the counts that are shown: rows by document, files, their bytes, missing ones."""
        stored = [one for one in self.files if one["path"].startswith("files/")]
        size = sum(one["bytes"] for one in stored)
        return {"rows": self.rows, "files": len(stored), "bytes": size, "missing": len(self.missing)}


def write_archive(workspace: Workspace, path: Path, report: Report) -> Contents:
    """Write the workspace's archive to ``path``. ``report`` gets the fraction done and a word, and may raise to stop.

    A file that is removed while this goes on is not there; the manifest lists it under ``missing``.
    """
    contents = Contents()
    wanted: list[tuple[str, str]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _add_rows(archive, contents, "workspace", iter([_about(workspace)]))
        for name, document in DOCUMENTS.items():
            report(0.0, f"Writing {name}")
            _add_rows(archive, contents, name, _rows(workspace, name, document, wanted))
        for number, (place, stored) in enumerate(wanted):
            tell = partial(report, number / len(wanted), f"Packing file {number + 1} of {len(wanted)}")
            _add_file(archive, contents, place, stored, tell)
        manifest = {
            "format": FORMAT,
            "made_by": settings.SITE_NAME,
            "made_at": timezone.now(),
            "left_out": LEFT_OUT,
            "rows": contents.rows,
            "files": contents.files,
            "missing": contents.missing,
        }
        with archive.open(_entry("manifest.json", zipfile.ZIP_DEFLATED), "w", force_zip64=True) as entry:
            entry.write(_json(manifest, indent=1))
    return contents


def _about(workspace: Workspace) -> dict[str, Any]:
    kept = ("code", "name", "slug", "personal", "created_at", "retention_days")
    return {name: getattr(workspace, name) for name in kept}


def _rows(
    workspace: Workspace, name: str, document: Document, wanted: list[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a document and note in ``wanted`` the file of each: its place here, its name in the storage."""
    for row in document.rows(workspace).iterator(chunk_size=ROWS_AT_ONCE):
        stored = str(getattr(row, document.file)) if document.file else ""
        place = f"files/{name}/{document.call(row)}" if stored else None
        if place is not None:
            wanted.append((place, stored))
        yield document.facts(row, place)


def _add_rows(archive: zipfile.ZipFile, contents: Contents, name: str, rows: Iterator[dict[str, Any]]) -> None:
    with _Counted(archive, f"{name}.json", zipfile.ZIP_DEFLATED) as entry:
        count = 0
        for count, row in enumerate(rows, start=1):
            entry.write((b"[\n" if count == 1 else b",\n") + _json(row))
        entry.write(b"\n]\n" if count else b"[]\n")
    contents.rows[name] = count
    contents.files.append(entry.facts)


def _add_file(
    archive: zipfile.ZipFile, contents: Contents, place: str, stored: str, report: Callable[[], None]
) -> None:
    try:
        source = default_storage.open(stored)
        block = source.read(BLOCK_BYTES)
    except FileNotFoundError:
        contents.missing.append(place)
        return
    with source, _Counted(archive, place, zipfile.ZIP_STORED) as entry:
        while block:
            report()
            entry.write(block)
            block = source.read(BLOCK_BYTES)
    contents.files.append(entry.facts)


class _Counted:
    """An entry of the archive that knows its length and hash."""

    def __init__(self, archive: zipfile.ZipFile, place: str, compression: int) -> None:
        self._entry: IO[bytes] = archive.open(_entry(place, compression), "w", force_zip64=True)
        self._place, self._bytes, self._hash = place, 0, hashlib.sha256()

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._entry.close()

    def write(self, block: bytes) -> None:
        self._bytes += len(block)
        self._hash.update(block)
        self._entry.write(block)

    @property
    def facts(self) -> dict[str, Any]:
        return {"path": self._place, "bytes": self._bytes, "sha256": self._hash.hexdigest()}


def _entry(place: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(place, timezone.now().timetuple()[:6])
    entry.compress_type = compression
    entry.external_attr = 0o600 << 16
    return entry


def _json(value: Any, indent: int | None = None) -> bytes:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False, indent=indent).encode()
