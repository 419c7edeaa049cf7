"""What the API answers about the workspace and the site: names and types of its OpenAPI document, as tests compare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

DeliveryStatus = Literal["waiting", "delivered", "failed"]


@dataclass(frozen=True)
class Workspace:
    """The workspace that the key opens."""

    id: UUID
    name: str
    slug: str
    personal: bool
    created_at: datetime
    seats: int | None  # How many members it may have; null is any number
    voice_limit: int | None
    storage_limit: int | None  # In bytes


@dataclass(frozen=True)
class Member:
    """Somebody in the workspace."""

    id: UUID
    name: str
    email: str
    role: str
    created_at: datetime


@dataclass(frozen=True)
class Invitation:
    """Somebody who was asked to join."""

    id: UUID
    email: str
    role: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class SentInvitation(Invitation):
    """An invitation that was just made."""

    link: str  # The link of the letter; it is shown this once
    mailed: bool  # Whether the mail server took the letter


@dataclass(frozen=True)
class Meter:
    """What there is of one meter in the current period, in its unit; null is any amount."""

    meter: str
    name: str
    unit: str
    allowance: int | None
    used: int
    reserved: int  # Set aside for jobs that are not finished
    granted: int  # What is left of grants and top-ups
    left: int | None
    period_start: datetime
    period_end: datetime


@dataclass(frozen=True)
class Held:
    """What there is of a thing that a plan limits by number; null is any amount."""

    meter: str
    name: str
    unit: str
    held: int
    limit: int | None


@dataclass(frozen=True)
class Usage:
    """The workspace's plan and what is used of it."""

    plan: str
    meters: list[Meter]  # What is used up in a period
    holdings: list[Held]  # What is there now


@dataclass(frozen=True)
class Event:
    """One line of the ledger."""

    id: UUID
    meter: str
    kind: str  # What it was used for, for example conversion
    state: str
    amount: int  # What was set aside
    spent: int  # What was charged of it; 0 until it has ended
    waived: int  # What was delivered beyond that, free of charge
    member: str | None  # Whose job it was
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Endpoint:
    """An address that events are sent to."""

    id: UUID
    url: str
    description: str
    events: list[str]  # Empty: all of them, also those that come later
    enabled: bool
    disabled_reason: str
    created_at: datetime


@dataclass(frozen=True)
class Secrets:
    """The secrets that sign, the newest first."""

    secrets: list[str]


@dataclass(frozen=True)
class Delivery:
    """One event for one endpoint."""

    id: UUID  # The receiver's webhook-id
    endpoint: UUID
    event: str
    status: DeliveryStatus
    attempts: int
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class Replayed:
    """How many are sent again."""

    count: int


@dataclass(frozen=True)
class Health:
    """The process answers."""

    ok: bool


@dataclass(frozen=True)
class Choice:
    """One word that can be chosen, with its meaning."""

    name: str
    label: str
    description: str = ""


@dataclass(frozen=True)
class Info:
    """What the site is and what can be chosen."""

    name: str
    version: str
    engine: str
    formats: list[Choice]
    sample_rates: list[int]
    presets: list[Choice]
    f0_methods: list[Choice]
    precisions: list[Choice]
    scales: list[str]
    webhook_events: list[Choice]


@dataclass(frozen=True)
class Limits:
    """What is taken at most; null is any amount."""

    upload_bytes: int
    upload_seconds: int
    request_bytes: int
    page: int  # Items of a list at once
    batch: int  # Conversions of a batch
    event_streams: int  # Of one key at once
    plan: str
    plan_limits: dict[str, int | None]  # By meter
    formats: list[str]  # Of results, that the plan has
