"""Tells the open pages of a workspace that a job changed. An id, no content: each reader looks at the row itself."""

from __future__ import annotations

import logging
from typing import Literal, TypedDict

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import transaction
from redis.exceptions import RedisError

from apps.jobs.models import Job

log = logging.getLogger(__name__)


class JobChanged(TypedDict):
    """The one message that travels: something in the row of this job is new."""

    type: Literal["job.changed"]
    job: int


def group_of(workspace_pk: int) -> str:
    """Return the name of the group that the pages of a workspace listen to."""
    return f"workspace.{workspace_pk}"


def publish(job: Job) -> None:
    """Send ``JobChanged`` to the workspace's pages once the change is committed.

    A message that cannot be sent is logged and costs nothing else: the pages also ask by themselves.
    """
    message: JobChanged = {"type": "job.changed", "job": job.pk}
    transaction.on_commit(lambda: _send(group_of(job.workspace_id), message))


def _send(group: str, message: JobChanged) -> None:
    try:
        async_to_sync(get_channel_layer().group_send)(group, message)
    except (RedisError, OSError):
        log.warning("job %s: its pages could not be told of a change", message["job"], exc_info=True)
