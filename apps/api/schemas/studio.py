"""Sources, conversions and batches on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from apps.api.schemas.base import NUMBER, Given, Name, Yes, one_of
from apps.jobs.models import Status
from apps.studio import models
from apps.studio.batches import ITEMS_MAX
from apps.studio.options import FORMATS, SAMPLE_RATES
from ml.catalog import F0_METHODS, PRESETS, SCALES

Seed = Annotated[int, Field(ge=0, le=2**31 - 1), NUMBER]
Share = Annotated[float, Field(ge=0, le=1), NUMBER]


class Source(BaseModel):
    """A file that conversions start from."""

    id: UUID
    name: str
    size: int = Field(description="In bytes.")
    sha256: str
    content_type: str
    codec: str
    duration: float = Field(description="In seconds.")
    sample_rate: int
    channels: int
    created_at: datetime
    expires_at: datetime | None
    expired: bool = Field(description="Whether its file is gone.")

    @classmethod
    def of(cls, row: models.Source) -> Source:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            name=row.name,
            size=row.size,
            sha256=row.sha256,
            content_type=row.content_type,
            codec=row.codec,
            duration=row.duration,
            sample_rate=row.sample_rate,
            channels=row.channels,
            created_at=row.created_at,
            expires_at=row.expires_at,
            expired=not row.is_stored,
        )


class Options(Given):
    """How to convert; what is left out is as usual."""

    preset: Annotated[str, one_of(PRESETS)] | None = None
    pitch: Literal["auto"] | Annotated[float, Field(ge=-24, le=24), NUMBER] | None = Field(
        default=None, description="Semitones, or `auto`: to the voice's range."
    )
    retrieval: Share | None = None
    protection: Share | None = None
    envelope: Share | None = None
    denoise: Share | None = None
    formant: Annotated[float, Field(ge=-12, le=12), NUMBER] | None = Field(default=None, description="Semitones.")
    high_pass: Yes | None = None
    pitch_smoothing: Annotated[float, Field(ge=0, le=100), NUMBER] | None = Field(
        default=None, description="Milliseconds."
    )
    autotune: Share | None = None
    scale: Annotated[str, one_of(SCALES)] | None = None
    retune: Annotated[float, Field(ge=0, le=400), NUMBER] | None = Field(default=None, description="Milliseconds.")
    f0_method: Annotated[str, one_of(F0_METHODS)] | None = None
    format: Annotated[str, one_of(FORMATS)] | None = None
    sample_rate: Annotated[int, Field(json_schema_extra={"enum": list(SAMPLE_RATES)}), NUMBER] | None = None
    loudness: Annotated[float, Field(ge=-40, le=-8), NUMBER] | None = Field(default=None, description="LUFS.")
    seed: Seed | None = None


class NewConversion(Given):
    """What to convert: a source by its id, into a voice that has an active model."""

    voice: UUID
    source: UUID
    options: Options = Options()


class UploadedConversion(Options):
    """The voice and the options, as fields of a form beside the file."""

    voice: UUID


class Again(Given):
    """What is to be other than the first time; what is left out stays."""

    voice: UUID | None = None
    options: Options = Options()


class Conversion(BaseModel):
    """A source converted into a voice."""

    id: UUID
    voice: UUID
    source: UUID
    source_name: str
    model_version: int | None
    options: dict[str, Any]
    seed: int
    parent: UUID | None = Field(description="The conversion that this one repeats with changes.")
    batch: UUID | None
    job: UUID
    status: str = Field(description="Of its job: `queued`, `running`, `done`, `failed`, `cancelled`.")
    progress: float = Field(description="0 to 1.")
    message: str = Field(description="For people: why it failed, what was resumed.")
    kept: bool = Field(description="Whether its files are kept for ever.")
    result: UUID | None = Field(description="The artifact to download, once there is one and until it expires.")
    created_at: datetime

    @classmethod
    def of(cls, row: models.Conversion) -> Conversion:
        """Return the row in this shape."""
        job = row.job
        result = row.result if job.status == "done" else None
        return cls(
            id=row.code,
            voice=row.voice.code,
            source=row.source.code,
            source_name=row.source.name,
            model_version=row.model_version,
            options=row.options,
            seed=row.seed,
            parent=row.parent.code if row.parent else None,
            batch=row.batch.code if row.batch else None,
            job=job.code,
            status=job.status,
            progress=job.progress,
            message=job.message,
            kept=row.kept_at is not None,
            result=result.code if result else None,
            created_at=row.created_at,
        )


class Kept(Given):
    """Whether a conversion's files are kept for ever."""

    kept: Yes


class ConversionDetail(Conversion):
    """A conversion with what was measured of it."""

    metrics: dict[str, float]
    compute_seconds: float

    @classmethod
    def of(cls, row: models.Conversion) -> ConversionDetail:
        """Return the row in this shape."""
        plain = dict(Conversion.of(row))
        return cls(**plain, metrics=row.metrics, compute_seconds=row.compute_seconds)


class NewBatch(Given):
    """Sources and voices: each source is converted into each voice."""

    name: Name
    sources: list[UUID] = Field(min_length=1, max_length=ITEMS_MAX)
    voices: list[UUID] = Field(min_length=1, max_length=ITEMS_MAX)
    options: Options = Options()


class Refusal(BaseModel):
    """An item of a batch that could not be started, and why."""

    source: UUID
    voice: UUID
    status: int
    message: str


class Batch(BaseModel):
    """Several conversions that were started together."""

    id: UUID
    name: str
    created_at: datetime
    counts: dict[str, int] = Field(description="How many of its items are in each state; `refused` ones never began.")
    refused: list[Refusal]

    @classmethod
    def of(cls, row: Any) -> Batch:
        """Return a row of ``apps.studio.batches.counted`` in this shape."""
        states = {str(status): getattr(row, f"count_{status}") for status in Status.values}
        counts = {**states, "refused": len(row.refused)}
        return cls(id=row.code, name=row.name, created_at=row.created_at, counts=counts, refused=row.refused)


class BatchDetail(Batch):
    """A batch with its items."""

    items: list[Conversion]
