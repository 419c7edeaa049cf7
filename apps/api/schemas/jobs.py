"""Jobs and the files that they make, on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, cast
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from apps.api.schemas.base import Paging, Since
from apps.jobs import models

Status = Literal["queued", "running", "done", "failed", "cancelled"]


class Job(BaseModel):
    """One run in the queue."""

    id: UUID
    kind: str = Field(description="For example `slicing`, `training`, `conversion`.")
    title: str
    status: Status
    stage: str
    progress: float = Field(description="0 to 1.")
    message: str = Field(description="For people: why it failed, what was resumed.")
    error_id: str = Field(description="Set when the fault was ours; tell it to us.")
    attempt: int
    seconds_left: float | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, row: models.Job) -> Job:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            kind=row.kind,
            title=row.title,
            status=cast(Status, row.status),
            stage=row.stage,
            progress=row.progress,
            message=row.message,
            error_id=row.error_id,
            attempt=row.attempt,
            seconds_left=row.seconds_left(),
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
        )


class JobFilter(Paging, Since):
    """Which jobs are wanted."""

    kind: Annotated[str, StringConstraints(max_length=20, pattern=r"^[a-z0-9 _-]*$")] = ""
    status: Status | Literal["", "unfinished"] = ""


class Artifact(BaseModel):
    """A file that a job made."""

    id: UUID
    job: UUID
    kind: str
    name: str
    content_type: str
    size: int = Field(description="In bytes.")
    sha256: str
    created_at: datetime
    expires_at: datetime | None
    expired: bool = Field(description="Whether it is gone.")

    @classmethod
    def of(cls, row: models.Artifact) -> Artifact:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            job=row.job.code,
            kind=row.kind,
            name=row.name,
            content_type=row.content_type,
            size=row.size,
            sha256=row.sha256,
            created_at=row.created_at,
            expires_at=row.expires_at,
            expired=not row.is_stored,
        )
