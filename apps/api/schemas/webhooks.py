"""Webhook endpoints and deliveries on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, cast
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from apps.api.schemas.base import Given, Line, Moment, Paging, Yes, one_of
from apps.webhooks import models
from apps.webhooks.catalog import EVENTS

Url = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x20\x7f]+$")]
Status = Literal["waiting", "delivered", "failed"]
Events = Annotated[list[Annotated[str, one_of(EVENTS)]], Field(max_length=len(EVENTS))]


class Endpoint(BaseModel):
    """An address that events are sent to."""

    id: UUID
    url: str
    description: str
    events: list[str] = Field(description="Empty: all of them, also those that come later.")
    enabled: bool
    disabled_reason: str
    created_at: datetime

    @classmethod
    def of(cls, row: models.Endpoint) -> Endpoint:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            url=row.url,
            description=row.description,
            events=row.events,
            enabled=row.enabled,
            disabled_reason=row.disabled_reason,
            created_at=row.created_at,
        )


class Secrets(BaseModel):
    """The secrets that sign, the newest first."""

    secrets: list[str]


class NewEndpoint(Given):
    """Where events go, and which."""

    url: Url = Field(description="A public https:// address.")
    description: Line = ""
    events: Events = Field(default_factory=list)


class EndpointChange(Given):
    """What is to be changed; what is left out stays."""

    url: Url | None = None
    description: Line | None = None
    events: Events | None = None
    enabled: Yes | None = None


class Delivery(BaseModel):
    """One event for one endpoint."""

    id: UUID = Field(description="The receiver's `webhook-id`.")
    endpoint: UUID
    event: str
    status: Status
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: models.Delivery) -> Delivery:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            endpoint=row.endpoint.code,
            event=row.event,
            status=cast(Status, row.status),
            attempts=row.attempts,
            next_attempt_at=row.next_attempt_at,
            created_at=row.created_at,
            ended_at=row.ended_at,
        )


class DeliveryFilter(Paging):
    """Which deliveries are wanted."""

    status: Status | Literal[""] = ""


class ReplayFailed(Given):
    """Since when failed deliveries are sent again."""

    since: Moment


class Replayed(BaseModel):
    """How many are sent again."""

    count: int
