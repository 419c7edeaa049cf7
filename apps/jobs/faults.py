"""Which faults may pass by themselves, so that another try later is worth it. All others end a job at once."""

from __future__ import annotations

import errno
import sys
from datetime import timedelta

import redis.exceptions
from django.db import InterfaceError, OperationalError

RETRY_AFTER = (timedelta(seconds=30), timedelta(minutes=2), timedelta(minutes=5))
"""How long after its first, second and third such fault a job is tried again; the fourth ends it."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_AWAY = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ESTALE}
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "ThrottlingException"}


def passing(error: BaseException) -> str | None:
    """Say for the user what could not be had, if it may be had later: "The storage"; None for any other fault."""
    if isinstance(error, OperationalError | InterfaceError):
        return "The database"
    if isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError):
        return "The queue"
    if _is_storage_away(error):  # before OSError, which some of its errors are too
        return "The storage"
    if isinstance(error, OSError):
        return "Room on a disk" if error.errno in _FULL else "A service" if error.errno in _AWAY else None
    return "Graphics memory" if _is_out_of_memory(error) else None


def _is_storage_away(error: BaseException) -> bool:
    storage = sys.modules.get("botocore.exceptions")  # loaded only where the storage is S3
    if storage is None:
        return False
    if isinstance(error, storage.ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= 500 or error.response.get("Error", {}).get("Code") in _BUSY
    return isinstance(error, storage.HTTPClientError | storage.ConnectionError)


def _is_out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # the web never loads it
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
