"""Whose work a log record belongs to: the request, the job and the workspace, from the page to the worker.

A job remembers the id of the request that submitted it, and its worker logs under that id: one search finds both.
"""

from __future__ import annotations

import logging
from contextvars import ContextVar

NOBODY = "-"
request_id: ContextVar[str] = ContextVar("request_id", default=NOBODY)
job: ContextVar[str] = ContextVar("job", default=NOBODY)
workspace: ContextVar[str] = ContextVar("workspace", default=NOBODY)


class Belonging(logging.Filter):
    """Adds ``request_id``, ``job`` and ``workspace`` to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id, record.job, record.workspace = request_id.get(), job.get(), workspace.get()
        return True
