"""What users make: a work has one job; a conversion is the first kind."""

from __future__ import annotations

import uuid

from django.db import models

from apps.accounts.models import User, Workspace
from apps.jobs.models import Artifact, Job
from apps.voices.models import Voice, VoiceModel

PLAYABLE_CONTAINERS = {"wav", "flac", "mp3", "ogg", "mp4", "webm", "aac"}
UNPLAYABLE_CODECS = {"alac", "pcm_f64le", "pcm_f64be"}


def source_path(source: Source, filename: str) -> str:
    """Return the storage name of a source: a code, never the user's file name."""
    return f"{source.workspace.file_prefix}/sources/{source.code}"


class Source(models.Model):
    """The file a work starts from, kept as received; several works may start from one."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="sources")
    file = models.FileField(upload_to=source_path, max_length=300, blank=True)  # empty once it has expired
    name = models.CharField(max_length=200)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    content_type = models.CharField(max_length=100)
    container = models.CharField(max_length=40)
    codec = models.CharField(max_length=40)
    duration = models.FloatField()  # seconds
    sample_rate = models.PositiveIntegerField()
    channels = models.PositiveSmallIntegerField()
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)  # not before the last result that was made of it
    expired_at = models.DateTimeField(null=True, blank=True)  # from then on nothing starts from it; its file goes next

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["expires_at"], condition=~models.Q(file=""), name="source_to_expire")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_stored(self) -> bool:
        """Say whether its file can still be had."""
        return self.expired_at is None

    @property
    def plays_in_browsers(self) -> bool:
        """Say whether browsers can play the file as it is."""
        return self.container in PLAYABLE_CONTAINERS and self.codec not in UNPLAYABLE_CODECS


class Batch(models.Model):
    """Conversions that were started together."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="batches")
    name = models.CharField(max_length=80)
    refused = models.JSONField(default=list)  # [{"source", "voice", "status", "message"}] of what was not started
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        verbose_name_plural = "batches"

    def __str__(self) -> str:
        return self.name


class Work(models.Model):
    """What a user asks to be made. All parameters, the model version and the seed are kept, so it can be run again."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    job = models.OneToOneField(Job, on_delete=models.CASCADE, related_name="%(class)s")
    options = models.JSONField(default=dict)
    seed = models.PositiveBigIntegerField()

    class Meta:
        abstract = True


class Conversion(Work):
    """Speech or singing of a source converted into a voice."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="conversions")
    voice = models.ForeignKey(Voice, on_delete=models.CASCADE, related_name="conversions")
    # A result outlives the model that made it; the version says which one it was.
    model = models.ForeignKey(VoiceModel, on_delete=models.SET_NULL, null=True, related_name="conversions")
    model_version = models.PositiveIntegerField(null=True)
    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="conversions")
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="variations")
    batch = models.ForeignKey(Batch, on_delete=models.SET_NULL, null=True, blank=True, related_name="conversions")
    metrics = models.JSONField(default=dict)  # name -> number
    curves = models.JSONField(default=dict)  # times, source_f0, result_f0, source_peaks
    compute_seconds = models.FloatField(default=0.0)
    kept_at = models.DateTimeField(null=True, blank=True)  # since then its files do not expire

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.source} as {self.voice}"

    @property
    def result(self) -> Artifact | None:
        """Return the converted file, once there is one and until it expires."""
        return self._artifact(Artifact.Kind.AUDIO, stored=True)

    @property
    def expired_result(self) -> Artifact | None:
        """Return what is still known of the converted file after it has expired."""
        return self._artifact(Artifact.Kind.AUDIO, stored=False)

    @property
    def preview(self) -> Artifact | None:
        """Return the source as browsers can play it, where they cannot play the file itself."""
        return self._artifact(Artifact.Kind.SAMPLE, stored=True)

    def _artifact(self, kind: Artifact.Kind, *, stored: bool) -> Artifact | None:
        # Chosen here, not by the database, so that a list can fetch the artifacts of all its rows at once.
        made = self.job.artifacts.all()
        return next((one for one in made if one.kind == kind and one.is_stored == stored), None)


class ConversionPreset(models.Model):
    """Options under a name, for one voice or (voice empty) for all, shared in the workspace."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="conversion_presets")
    voice = models.ForeignKey(Voice, on_delete=models.CASCADE, null=True, blank=True, related_name="conversion_presets")
    name = models.CharField(max_length=60)
    options = models.JSONField(default=dict)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "voice", "name"], name="preset_name_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return self.name
