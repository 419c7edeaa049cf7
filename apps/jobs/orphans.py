"""Files that no row names, as a hard kill between storing a file and committing its row leaves them; rows without file.

Works on any storage: what is there is listed, folder by folder, and compared with what the rows name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

from django.apps import apps
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.db.models import FileField, Model
from django.utils import timezone

from apps.jobs import counters

log = logging.getLogger(__name__)
ROOT = "w"  # as in Workspace.file_prefix
# An upload's pieces are no field of a row; what stays of them has a sweep of its own.
UPLOADS = "uploads"
# A file is stored before its row is committed, and a long transaction may lie between.
GRACE = timedelta(hours=24)
FOLDERS_AT_ONCE = 20
LAST = "orphans-last"
"""Where the cache has what the newest round found: ``at``, ``folders``, ``orphans`` and ``missing``."""
_CURSOR = "orphans-cursor"


def sweep_orphans() -> dict[str, int]:
    """Look through the next workspaces' folders, so that all have their turn: remove files that no row has named for a
    day, and log rows whose file is not there. Say how many of each.
    """
    found = {"orphans": 0, "missing": 0}
    folders = next_folders(_CURSOR)
    for folder in folders:
        orphans, missing = _compare(folder)
        found["orphans"] += orphans
        found["missing"] += missing
    cache.set(LAST, {"at": timezone.now(), "folders": len(folders), **found}, None)
    counters.count("storage_orphans", by=found["orphans"])
    counters.count("storage_missing", by=found["missing"])
    return found


def next_folders(cursor: str) -> list[str]:
    """Return the workspaces' folders whose turn it is; ``cursor`` names the round that is made."""
    folders = sorted(listed(ROOT)[0])
    after = cache.get(cursor, "")
    turn = [name for name in folders if name > after][:FOLDERS_AT_ONCE]
    cache.set(cursor, turn[-1] if len(turn) == FOLDERS_AT_ONCE else "", None)
    return [f"{ROOT}/{name}" for name in turn]


def _compare(folder: str) -> tuple[int, int]:
    # Rows first: what is stored and committed after that is in the listing only, and too young to be removed.
    named = dict(_named(f"{folder}/"))
    stored = set(_files(folder))
    orphans = sum(remove_old(name) for name in stored - set(named))
    missing = [name for name in set(named) - stored if not default_storage.exists(name)]
    for name in missing:
        log.error("%s names a file that is not in the storage: %s", named[name], name)
    return orphans, len(missing)


def remove_old(name: str) -> bool:
    """Remove a file that no row names if it is older than a day; say whether it was."""
    try:
        if default_storage.get_modified_time(name) > timezone.now() - GRACE:
            return False
    except FileNotFoundError:  # removed by its owner meanwhile
        return False
    default_storage.delete(name)
    log.warning("removed a file that no row names: %s", name)
    return True


def _named(prefix: str) -> Iterator[tuple[str, str]]:
    """Names of all files that rows point to below `prefix`, each with what points to it."""
    for model in apps.get_models():
        for field in _file_fields(model):
            rows = model._default_manager.filter(**{f"{field}__startswith": prefix})
            for pk, name in rows.values_list("pk", field).iterator():
                yield name, f"{model._meta.label} {pk}"


def _file_fields(model: type[Model]) -> list[str]:
    return [field.name for field in model._meta.concrete_fields if isinstance(field, FileField)]


def _files(folder: str) -> Iterator[str]:
    folders, files = listed(folder)
    for name in files:
        yield f"{folder}/{name}"
    for name in folders:
        if name != UPLOADS or not _is_workspace(folder):
            yield from _files(f"{folder}/{name}")


def _is_workspace(folder: str) -> bool:
    """Say whether `folder` is a workspace's own: w/<code>."""
    parts = folder.split("/")
    try:
        return len(parts) == 2 and bool(UUID(parts[1]))
    except ValueError:
        return False


def listed(folder: str) -> tuple[list[str], list[str]]:
    """Return the folders and the files of a folder, none when there is no such folder."""
    try:
        folders, files = default_storage.listdir(folder)
    except FileNotFoundError:
        return [], []
    return [name for name in folders if name], [name for name in files if name]
