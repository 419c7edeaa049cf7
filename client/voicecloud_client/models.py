"""What the API answers about voices and work: the names and types of its OpenAPI document, as the tests compare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Status = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Voice:
    """A person's voice."""

    id: UUID
    name: str
    description: str
    created_at: datetime
    has_consent: bool  # Whether a consent is in force: without one nothing is trained or made
    active_model: UUID | None  # The model that conversions use
    locked: bool  # Whether the plan does not hold it: nothing new is made with it then
    recordings: int
    usable_seconds: float  # The length of all takes that a training would use


@dataclass(frozen=True)
class Preflight:
    """What the takes of a voice promise before anything is trained."""

    takes: int
    seconds: float
    waiting: int  # Recordings that are still being listened to
    quality: float  # The predicted quality, 0 to 1
    strangers: list[UUID]  # Takes that sound like somebody else
    missing: list[str]  # What to record besides
    rating: str  # The quality as a word: poor, fair, good, very good
    likeness: float | None  # What may be expected, from -1 to 1; null while there is too little


@dataclass(frozen=True)
class Recording:
    """One file of a voice, kept as received."""

    id: UUID
    voice: UUID
    name: str
    size: int  # In bytes
    sha256: str
    content_type: str
    container: str
    codec: str
    duration: float  # In seconds
    sample_rate: int
    channels: int
    script: str  # What was read aloud
    job: UUID | None  # The job that slices it into takes
    created_at: datetime


@dataclass(frozen=True)
class Upload:
    """A file that is sent in parts and is not whole yet."""

    id: UUID
    voice: UUID
    name: str
    size: int
    offset: int  # How many bytes are there; the next part begins here
    created_at: datetime


@dataclass(frozen=True)
class Take:
    """A clean slice of a recording."""

    id: UUID
    recording: UUID
    start: float  # In seconds of the recording
    end: float
    snr_db: float
    clipping: float  # Share of the samples, 0 to 1
    loudness_lufs: float
    speech_share: float
    f0_median_hz: float | None
    usable: bool  # What the grading says
    reasons: list[str]  # Why not
    dropped: bool  # What a member says: not to be trained on


@dataclass(frozen=True)
class Consent:
    """Who allowed the voice to be cloned, in what words."""

    id: UUID
    voice: UUID
    statement: str
    full_name: str
    is_own_voice: bool
    speech: bool
    singing: bool
    commercial: bool
    has_recording: bool  # Whether the statement was also spoken
    given_at: datetime
    expires_at: datetime | None
    withdrawn_at: datetime | None


@dataclass(frozen=True)
class Statement:
    """The exact words of a consent, to be read by who agrees."""

    statement: str


@dataclass(frozen=True)
class Model:
    """One trained version of a voice."""

    id: UUID
    voice: UUID
    version: int
    kind: str
    preset: str
    options: dict[str, Any]
    status: str  # Of its job: queued, running, done, failed, cancelled
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


@dataclass(frozen=True)
class Source:
    """A file that conversions start from."""

    id: UUID
    name: str
    size: int  # In bytes
    sha256: str
    content_type: str
    codec: str
    duration: float  # In seconds
    sample_rate: int
    channels: int
    created_at: datetime
    expires_at: datetime | None
    expired: bool  # Whether its file is gone


@dataclass(frozen=True)
class Conversion:
    """A source converted into a voice."""

    id: UUID
    voice: UUID
    source: UUID
    source_name: str
    model_version: int | None
    options: dict[str, Any]
    seed: int
    parent: UUID | None  # The conversion that this one repeats with changes
    batch: UUID | None
    job: UUID
    status: str  # Of its job: queued, running, done, failed, cancelled
    progress: float  # 0 to 1
    message: str  # For people: why it failed, what was resumed
    kept: bool  # Whether its files are kept for ever
    result: UUID | None  # The artifact to download, once there is one and until it expires
    created_at: datetime


@dataclass(frozen=True)
class ConversionDetail(Conversion):
    """A conversion with what was measured of it."""

    metrics: dict[str, float]
    compute_seconds: float


@dataclass(frozen=True)
class Refusal:
    """An item of a batch that could not be started, and why."""

    source: UUID
    voice: UUID
    status: int
    message: str


@dataclass(frozen=True)
class Batch:
    """Several conversions that were started together."""

    id: UUID
    name: str
    created_at: datetime
    counts: dict[str, int]  # How many of its items are in each state; refused ones never began
    refused: list[Refusal]


@dataclass(frozen=True)
class BatchDetail(Batch):
    """A batch with its items."""

    items: list[Conversion]


@dataclass(frozen=True)
class Job:
    """One run in the queue."""

    id: UUID
    kind: str  # For example slicing, training, conversion
    title: str
    status: Status
    stage: str
    progress: float  # 0 to 1
    message: str  # For people: why it failed, what was resumed
    error_id: str  # Set when the fault was ours; tell it to us
    attempt: int
    seconds_left: float | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Artifact:
    """A file that a job made."""

    id: UUID
    job: UUID
    kind: str
    name: str
    content_type: str
    size: int  # In bytes
    sha256: str
    created_at: datetime
    expires_at: datetime | None
    expired: bool  # Whether it is gone
