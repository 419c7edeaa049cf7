"""What the site says of itself on the wire."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Health(BaseModel):
    """The process answers."""

    ok: bool


class Choice(BaseModel):
    """One word that can be chosen, with its meaning."""

    name: str
    label: str
    description: str = ""


class Info(BaseModel):
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


class Limits(BaseModel):
    """What is taken at most; null is any amount."""

    upload_bytes: int
    upload_seconds: int
    request_bytes: int
    page: int = Field(description="Items of a list at once.")
    batch: int = Field(description="Conversions of a batch.")
    event_streams: int = Field(description="Of one key at once.")
    plan: str
    plan_limits: dict[str, int | None] = Field(description="By meter.")
    formats: list[str] = Field(description="Of results, that the plan has.")
