"""Workspaces, members, invitations, usage on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from apps.accounts import models
from apps.api.schemas.base import Given, Name
from apps.billing.models import UsageEvent
from apps.billing.services.ledger import Balance

Address = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^\s@\x00-\x1f\x7f]+@[^\s@\x00-\x1f\x7f]+$")]
GivenRole = Literal["admin", "editor", "viewer"]


class Workspace(BaseModel):
    """The workspace that the key opens."""

    id: UUID
    name: str
    slug: str
    personal: bool
    created_at: datetime
    seats: int | None = Field(description="How many members it may have; null is any number.")
    voice_limit: int | None
    storage_limit: int | None = Field(description="In bytes.")

    @classmethod
    def of(cls, row: models.Workspace) -> Workspace:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            name=row.name,
            slug=row.slug,
            personal=row.personal,
            created_at=row.created_at,
            seats=row.seats,
            voice_limit=row.voice_limit,
            storage_limit=row.storage_limit,
        )


class WorkspaceChange(Given):
    """What is to be changed; what is left out stays."""

    name: Name | None = None
    slug: Annotated[str, StringConstraints(max_length=60, pattern=r"^[a-z0-9_-]+$")] | None = Field(
        default=None, description="The part after /w/ in the addresses of its pages; old links stop working."
    )


class Member(BaseModel):
    """Somebody in the workspace."""

    id: UUID
    name: str
    email: str
    role: str
    created_at: datetime

    @classmethod
    def of(cls, row: models.Membership) -> Member:
        """Return the row in this shape."""
        user = row.user
        return cls(id=row.code, name=user.name, email=user.email, role=row.role, created_at=row.created_at)


class RoleChange(Given):
    """Another role."""

    role: GivenRole


class Invitation(BaseModel):
    """Somebody who was asked to join."""

    id: UUID
    email: str
    role: str
    created_at: datetime
    expires_at: datetime

    @classmethod
    def of(cls, row: models.Invitation) -> Invitation:
        """Return the row in this shape."""
        return cls(id=row.code, email=row.email, role=row.role, created_at=row.created_at, expires_at=row.expires_at)


class SentInvitation(Invitation):
    """An invitation that was just made."""

    link: str = Field(description="The link of the letter; it is shown this once.")
    mailed: bool = Field(description="Whether the mail server took the letter.")


class NewInvitation(Given):
    """Whom to invite, as what."""

    email: Address
    role: GivenRole = "editor"


class Meter(BaseModel):
    """What there is of one meter in the current period, in its unit; null is any amount."""

    meter: str
    name: str
    unit: str
    allowance: int | None
    used: int
    reserved: int = Field(description="Set aside for jobs that are not finished.")
    granted: int = Field(description="What is left of grants and top-ups.")
    left: int | None
    period_start: datetime
    period_end: datetime

    @classmethod
    def of(cls, found: Balance, *, name: str, unit: str) -> Meter:
        """Return a balance in this shape."""
        return cls(
            meter=found.meter,
            name=name,
            unit=unit,
            allowance=found.allowance,
            used=found.used,
            reserved=found.reserved,
            granted=found.granted,
            left=found.left,
            period_start=found.period.start,
            period_end=found.period.end,
        )


class Held(BaseModel):
    """What there is of a thing that a plan limits by number; null is any amount."""

    meter: str
    name: str
    unit: str
    held: int
    limit: int | None


class Usage(BaseModel):
    """The workspace's plan and what is used of it."""

    plan: str
    meters: list[Meter] = Field(description="What is used up in a period.")
    holdings: list[Held] = Field(description="What is there now.")


class Event(BaseModel):
    """One line of the ledger."""

    id: UUID
    meter: str
    kind: str = Field(description="What it was used for, for example `conversion`.")
    state: str
    amount: int = Field(description="What was set aside.")
    spent: int = Field(description="What was charged of it; 0 until it has ended.")
    waived: int = Field(description="What was delivered beyond that, free of charge.")
    member: str | None = Field(description="Whose job it was.")
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, row: UsageEvent) -> Event:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            meter=row.meter,
            kind=row.kind,
            state=row.state,
            amount=row.amount,
            spent=row.spent,
            waived=row.waived,
            member=row.user.email if row.user else None,
            created_at=row.created_at,
            ended_at=row.ended_at,
        )
