"""From recording to voice model."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q, Value
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.jobs.models import Job


class Voice(models.Model):
    """A person's voice as a product: name, consent, recordings, models."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="voices")
    name = models.CharField(max_length=80)
    description = models.TextField(max_length=1000, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    # When it was last chosen to be usable where the plan holds fewer voices than there are.
    chosen_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name", "pk"]
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="voice_name_once_in_workspace")]

    def __str__(self) -> str:
        return self.name

    @property
    def consent(self) -> Consent | None:
        """Return the consent in force now: the newest one neither withdrawn nor expired."""
        open_ended = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.consents.filter(open_ended, withdrawn_at=None).order_by("-given_at").first()

    @property
    def active_model(self) -> VoiceModel | None:
        """Return the model that conversions use."""
        return self.models.filter(active=True).first()


def consent_path(consent: Consent, filename: str) -> str:
    """Return the storage name of the spoken statement."""
    return f"{consent.voice.workspace.file_prefix}/consents/{consent.code}"


class Consent(models.Model):
    """Who allowed the voice to be cloned, in what words, when. Rows are never changed but for their withdrawal."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    voice = models.ForeignKey(Voice, on_delete=models.CASCADE, related_name="consents")
    statement = models.TextField()  # the exact words shown
    full_name = models.CharField(max_length=120)  # who agreed
    is_own_voice = models.BooleanField()  # of the person who is logged in, or of somebody whose permission they hold
    speech = models.BooleanField(default=True)
    singing = models.BooleanField(default=False)
    commercial = models.BooleanField(default=False)
    recording = models.FileField(upload_to=consent_path, max_length=300, blank=True)
    recording_type = models.CharField(max_length=100, blank=True)
    given_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    given_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-given_at"]

    def __str__(self) -> str:
        return f"{self.full_name} for {self.voice}"

    @property
    def is_expired(self) -> bool:
        """Say whether its last day is over."""
        return self.expires_at is not None and self.expires_at <= timezone.now()


def recording_path(recording: Recording, filename: str) -> str:
    """Return the storage name of the file as received: a code, never the user's file name."""
    return f"{recording.voice.workspace.file_prefix}/recordings/{recording.code}"


class Recording(models.Model):
    """One uploaded or recorded file, kept as received."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    voice = models.ForeignKey(Voice, on_delete=models.CASCADE, related_name="recordings")
    file = models.FileField(upload_to=recording_path, max_length=300)
    name = models.CharField(max_length=200)  # as the user called it; shown, never used as a path
    size = models.PositiveBigIntegerField()  # bytes
    sha256 = models.CharField(max_length=64)
    container = models.CharField(max_length=40)
    codec = models.CharField(max_length=40)
    content_type = models.CharField(max_length=100)
    duration = models.FloatField()  # seconds
    sample_rate = models.PositiveIntegerField()
    channels = models.PositiveSmallIntegerField()
    script = models.TextField(blank=True)  # what was read aloud, when recorded in the page
    job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="recording")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [models.UniqueConstraint(fields=["voice", "sha256"], name="recording_once_in_voice")]

    def __str__(self) -> str:
        return self.name


class Upload(models.Model):
    """A file on its way that has not become a recording yet; swept when left alone for a day.

    It comes in parts (tus 1.0), or whole, as one object that the browser puts into the object store itself.
    """

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    voice = models.ForeignKey(Voice, on_delete=models.CASCADE, related_name="uploads")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    size = models.PositiveBigIntegerField()  # bytes announced
    offset = models.PositiveBigIntegerField(default=0)  # bytes received
    parts = models.JSONField(default=list)  # storage names of what came so far, in order; of what is to come, if direct
    direct = models.BooleanField(default=False, db_default=False)  # put into the object store by the browser
    claimed_at = models.DateTimeField(null=True, blank=True)  # since when a request takes it in, if direct
    created_at = models.DateTimeField(auto_now_add=True)
    touched_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name} {self.offset}/{self.size}"

    @property
    def folder(self) -> str:
        """Where the parts lie in the storage, so that any web process can go on with them."""
        return f"{self.voice.workspace.file_prefix}/uploads/{self.code}"


def take_path(take: Take, filename: str) -> str:
    """Return the storage name of a slice."""
    return f"{take.recording.voice.workspace.file_prefix}/takes/{take.code}.flac"


class Take(models.Model):
    """A clean slice of a recording, graded, used in training unless dropped."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    recording = models.ForeignKey(Recording, on_delete=models.CASCADE, related_name="takes")
    file = models.FileField(upload_to=take_path, max_length=300)
    start = models.FloatField()  # seconds in the recording
    end = models.FloatField()
    snr_db = models.FloatField()
    clipping = models.FloatField()  # fraction of samples
    loudness_lufs = models.FloatField()
    speech_share = models.FloatField()  # fraction of the time
    f0_median_hz = models.FloatField(null=True)  # null where nothing is voiced
    grade = models.JSONField(default=dict)  # all of ml.takes.TakeInfo's figures
    peaks = models.JSONField(default=list)  # waveform for its player
    usable = models.BooleanField()  # what the grading says
    reasons = models.JSONField(default=list)  # sentences: why not
    dropped = models.BooleanField(default=False)  # what the user says

    class Meta:
        ordering = ["recording", "start"]

    def __str__(self) -> str:
        return f"{self.recording} {self.start:.1f}-{self.end:.1f} s"

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.end - self.start

    @property
    def label(self) -> str:
        """What a screen reader calls it among the others of its recording."""
        return f"Take at {self.start:.1f} s"

    @property
    def clipped_percent(self) -> float:
        """Share of clipped samples, 0..100."""
        return 100.0 * self.clipping

    @property
    def speech_percent(self) -> float:
        """Share of the time in which somebody speaks, 0..100."""
        return 100.0 * self.speech_share


def model_path(model: VoiceModel, filename: str) -> str:
    """Return the storage name of the weights."""
    return f"{model.voice.workspace.file_prefix}/models/{model.code}.voice"


class VoiceModel(models.Model):
    """One trained version of a voice. Its status is its job's; it can be used once ``file`` is set."""

    class Kind(models.TextChoices):
        INSTANT = "instant", "Instant"
        TRAINED = "trained", "Trained"

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    voice = models.ForeignKey(Voice, on_delete=models.CASCADE, related_name="models")
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="voice_model")
    version = models.PositiveIntegerField()  # 1, 2, 3 ... within the voice
    kind = models.CharField(max_length=10, choices=Kind)
    engine = models.CharField(max_length=20)
    preset = models.CharField(max_length=20, blank=True)
    options = models.JSONField(default=dict)
    takes = models.ManyToManyField(Take, related_name="models")
    seconds_of_audio = models.FloatField()
    file = models.FileField(upload_to=model_path, max_length=300, blank=True)
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    steps = models.PositiveIntegerField(default=0)
    training_seconds = models.FloatField(default=0.0)
    metrics = models.JSONField(default=dict)  # name -> number
    curve = models.JSONField(default=list)  # [{"step", "loss", "held_out"}]
    # What the training took of its machine: see ml.resources.
    resources = models.JSONField(default=dict, db_default=Value({}, models.JSONField()))
    notes = models.JSONField(default=list, db_default=Value([], models.JSONField()))  # what did not go as planned
    card = models.JSONField(default=dict)  # what the voice file says of itself: base, pitch and bandwidth in Hz
    active = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint(fields=["voice", "version"], name="model_version_once"),
            models.UniqueConstraint(fields=["voice"], condition=Q(active=True), name="voice_has_one_active_model"),
            models.CheckConstraint(condition=Q(active=False) | ~Q(file=""), name="active_model_has_a_file"),
        ]

    def __str__(self) -> str:
        return f"{self.voice} v{self.version}"
