"""Stored files of a voice: put whole or not at all, and removed only once their rows are gone for good."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction


class FinishedFile(File):  # type: ignore[type-arg]  # generic in the stubs alone
    """A complete file on disk, synced, that a local storage takes over by renaming it."""

    def __init__(self, path: Path) -> None:
        handle = path.open("rb")
        os.fsync(handle.fileno())
        super().__init__(handle, name=path.name)
        self._path = path

    def temporary_file_path(self) -> str:
        """Return where the file lies: Django's local storage then moves instead of copying."""
        return str(self._path)


def store(name: str, path: Path) -> str:
    """Put the file at ``path`` into the storage and return its name there."""
    with FinishedFile(path) as content:
        stored: str = default_storage.save(name, content)
        return stored


def remove_on_commit(files: Iterable[Any]) -> None:
    """Delete stored files (names or field files; empty ones are passed over) once the transaction has committed.

    A storage that is away then is logged and no fault of what was committed: the sweep of orphans removes the files.
    """
    names = sorted({str(file) for file in files if file})
    if names:
        transaction.on_commit(partial(remove, names), robust=True)


def remove(names: Iterable[str]) -> None:
    """Delete stored files now."""
    for name in names:
        default_storage.delete(name)
