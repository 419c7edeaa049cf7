"""Which faults may pass by themselves, so that another try later is worth it. All others end a job at once."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import sys
from datetime import timedelta

import redis.exceptions
from django.conf import settings
from django.db import InterfaceError, OperationalError

RETRY_AFTER = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=5))
"""How long after its first, second and third such fault a job is tried again; the fourth ends it."""

DATABASE, QUEUE, STORAGE = "The database", "The queue", "The storage"
_FULL = {errno.ENOSPC, errno.EDQUOT}
# With less room than this a job cannot write its files, which libraries call by many names; what other jobs have just
# removed is no sign that there was room.
LEAST_FREE_BYTES = 64 * 1024**2
_AWAY = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ESTALE}
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "ThrottlingException"}


def passing(error: BaseException) -> str | None:
    """Say for the user what could not be had, if it may be had later: "The storage"; None for any other fault."""
    if isinstance(error, OperationalError | InterfaceError) and not _is_wrong_statement(error):
        return DATABASE
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
        return QUEUE
    if _is_storage_away(error):  # before OSError, which some of its errors are too
        return STORAGE
    if isinstance(error, OSError):
        if error.errno in _AWAY:
            return "A service"
        return "Room on a disk" if error.errno in _FULL or disk_is_full() else None
    if _is_out_of_memory(error):
        return "Graphics memory"
    if error.__cause__ is not None and (what := passing(error.__cause__)) is not None:
        return what
    return "Room on a disk" if disk_is_full() else None


def disk_is_full() -> bool:
    """Say whether there is no room where jobs write: then a file that cannot be read or made is nobody's fault."""
    return shutil.disk_usage(settings.DATA_DIR).free < LEAST_FREE_BYTES


def _is_wrong_statement(error: BaseException) -> bool:
    """Say whether SQLite means a table or column that is not there, which is a fault of ours and stays."""
    return getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


def _is_storage_away(error: BaseException) -> bool:
    storage = sys.modules.get("botocore.exceptions")  # loaded only where the storage is S3
    if storage is None:
        return False
    if isinstance(error, storage.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= 500 or error.response.get("Error", {}).get("Code") in _BUSY
    if isinstance(error, storage.HTTPClientError | storage.ConnectionError | storage.IncompleteReadError):
        return True
    transfer = sys.modules.get("s3transfer.exceptions")  # a download in ranges that was cut again and again
    return transfer is not None and isinstance(error, transfer.RetriesExceededError)


def _is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # the web never loads it
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
