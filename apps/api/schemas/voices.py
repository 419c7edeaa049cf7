"""Voices and what belongs to them on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from apps.api.schemas.base import (
    NUMBER,
    Day,
    FileName,
    FullName,
    Given,
    LongText,
    Name,
    Text,
    Words,
    Yes,
    one_of,
)
from apps.voices import models
from ml.catalog import F0_METHODS, PRECISIONS, PRESETS


class Voice(BaseModel):
    """A person's voice."""

    id: UUID
    name: str
    description: str
    created_at: datetime
    has_consent: bool = Field(description="Whether a consent is in force: without one nothing is trained or made.")
    active_model: UUID | None = Field(description="The model that conversions use.")
    locked: bool = Field(description="Whether the plan does not hold it: nothing new is made with it then.")
    recordings: int
    usable_seconds: float = Field(description="The length of all takes that a training would use.")

    @classmethod
    def of(cls, row: Any, *, locked: frozenset[int]) -> Voice:
        """Return a row of ``apps.api.routes.voices.rows_of`` in this shape."""
        return cls(
            id=row.code,
            name=row.name,
            description=row.description,
            created_at=row.created_at,
            has_consent=row.has_consent,
            active_model=row.active_code,
            locked=row.pk in locked,
            recordings=row.recorded,
            usable_seconds=row.seconds or 0.0,
        )


class NewVoice(Given):
    """What a new voice is called."""

    name: Name
    description: Text = ""


class VoiceChange(Given):
    """What is to be changed; what is left out stays."""

    name: Name | None = None
    description: Text | None = None


class Recording(BaseModel):
    """One file of a voice, kept as received."""

    id: UUID
    voice: UUID
    name: str
    size: int = Field(description="In bytes.")
    sha256: str
    content_type: str
    container: str
    codec: str
    duration: float = Field(description="In seconds.")
    sample_rate: int
    channels: int
    script: str = Field(description="What was read aloud.")
    job: UUID | None = Field(description="The job that slices it into takes.")
    created_at: datetime

    @classmethod
    def of(cls, row: models.Recording) -> Recording:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            voice=row.voice.code,
            name=row.name,
            size=row.size,
            sha256=row.sha256,
            content_type=row.content_type,
            container=row.container,
            codec=row.codec,
            duration=row.duration,
            sample_rate=row.sample_rate,
            channels=row.channels,
            script=row.script,
            job=row.job.code if row.job else None,
            created_at=row.created_at,
        )


class RecordingForm(Given):
    """What is sent beside the file."""

    script: LongText = Field(default="", description="What was read aloud, if that is known.")


class NewUpload(Given):
    """A file that is about to be sent in parts."""

    name: FileName
    size: Annotated[int, Field(ge=1, le=2**50, description="In bytes."), NUMBER]


class Upload(BaseModel):
    """A file that is sent in parts and is not whole yet."""

    id: UUID
    voice: UUID
    name: str
    size: int
    offset: int = Field(description="How many bytes are there; the next part begins here.")
    created_at: datetime

    @classmethod
    def of(cls, row: models.Upload) -> Upload:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            voice=row.voice.code,
            name=row.name,
            size=row.size,
            offset=row.offset,
            created_at=row.created_at,
        )


class Take(BaseModel):
    """A clean slice of a recording."""

    id: UUID
    recording: UUID
    start: float = Field(description="In seconds of the recording.")
    end: float
    snr_db: float
    clipping: float = Field(description="Share of the samples, 0 to 1.")
    loudness_lufs: float
    speech_share: float
    f0_median_hz: float | None
    usable: bool = Field(description="What the grading says.")
    reasons: list[str] = Field(description="Why not.")
    dropped: bool = Field(description="What a member says: not to be trained on.")

    @classmethod
    def of(cls, row: models.Take) -> Take:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            recording=row.recording.code,
            start=row.start,
            end=row.end,
            snr_db=row.snr_db,
            clipping=row.clipping,
            loudness_lufs=row.loudness_lufs,
            speech_share=row.speech_share,
            f0_median_hz=row.f0_median_hz,
            usable=row.usable,
            reasons=row.reasons,
            dropped=row.dropped,
        )


class TakeChange(Given):
    """Whether a take is to be trained on."""

    dropped: Yes


class Consent(BaseModel):
    """Who allowed the voice to be cloned, in what words."""

    id: UUID
    voice: UUID
    statement: str
    full_name: str
    is_own_voice: bool
    speech: bool
    singing: bool
    commercial: bool
    has_recording: bool = Field(description="Whether the statement was also spoken.")
    given_at: datetime
    expires_at: datetime | None
    withdrawn_at: datetime | None

    @classmethod
    def of(cls, row: models.Consent) -> Consent:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            voice=row.voice.code,
            statement=row.statement,
            full_name=row.full_name,
            is_own_voice=row.is_own_voice,
            speech=row.speech,
            singing=row.singing,
            commercial=row.commercial,
            has_recording=bool(row.recording),
            given_at=row.given_at,
            expires_at=row.expires_at,
            withdrawn_at=row.withdrawn_at,
        )


class Terms(Given):
    """What somebody agrees to."""

    full_name: FullName = Field(description="Of the speaker.")
    whose: Literal["own", "permission"] = Field(
        default="own", description="Your own voice, or one whose speaker permitted it."
    )
    speech: Yes = True
    singing: Yes = True
    commercial: Yes = False
    expires_on: Day | None = Field(default=None, description="The last day on which the voice may be used.")


class Statement(BaseModel):
    """The exact words of a consent, to be read by who agrees."""

    statement: str


class NewConsent(Terms):
    """A consent: the terms, and the words that were agreed to."""

    statement: Words = Field(description="Exactly the words that `/consents/statement` answers for these terms.")
    agreed: Yes = Field(description="Must be true: the speaker, or who has their permission, has read them.")


class Model(BaseModel):
    """One trained version of a voice."""

    id: UUID
    voice: UUID
    version: int
    kind: str
    preset: str
    options: dict[str, Any]
    status: str = Field(description="Of its job: `queued`, `running`, `done`, `failed`, `cancelled`.")
    job: UUID
    active: bool
    seconds_of_audio: float
    steps: int
    training_seconds: float
    size: int
    sha256: str
    metrics: dict[str, float]
    notes: list[str]
    created_at: datetime

    @classmethod
    def of(cls, row: models.VoiceModel) -> Model:
        """Return the row in this shape."""
        return cls(
            id=row.code,
            voice=row.voice.code,
            version=row.version,
            kind=row.kind,
            preset=row.preset,
            options=row.options,
            status=row.job.status,
            job=row.job.code,
            active=row.active,
            seconds_of_audio=row.seconds_of_audio,
            steps=row.steps,
            training_seconds=row.training_seconds,
            size=row.size,
            sha256=row.sha256,
            metrics=row.metrics,
            notes=row.notes,
            created_at=row.created_at,
        )


class Training(Given):
    """How to train; what is left out is as the preset says."""

    preset: Annotated[str, one_of(PRESETS)] = "balanced"
    steps: Annotated[int, Field(ge=10, le=100_000), NUMBER] | None = None
    batch: Annotated[int, Field(ge=1, le=64), NUMBER] | None = None
    learning_rate: Annotated[float, Field(ge=1e-6, le=1e-2), NUMBER] | None = None
    save_seconds: Annotated[float, Field(ge=1, le=15), NUMBER] | None = None
    patience: Annotated[int, Field(ge=0, le=24), NUMBER] | None = None
    precision: Annotated[str, one_of(PRECISIONS)] | None = None
    denoise: Annotated[float, Field(ge=0, le=1), NUMBER] | None = None
    f0_method: Annotated[str, one_of(F0_METHODS)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), NUMBER] | None = None


class Preflight(BaseModel):
    """What the takes of a voice promise before anything is trained."""

    takes: int
    seconds: float
    waiting: int = Field(description="Recordings that are still being listened to.")
    quality: float = Field(description="The predicted quality, 0 to 1.")
    strangers: list[UUID] = Field(description="Takes that sound like somebody else.")
    missing: list[str] = Field(description="What to record besides.")
    rating: str = Field(description="The quality as a word: `poor`, `fair`, `good`, `very good`.")
    likeness: float | None = Field(description="What may be expected, from -1 to 1; null while there is too little.")
