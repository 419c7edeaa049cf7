"""A job is one run in the queue; an artifact is a file that a job made."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.accounts.models import User, Workspace
from apps.billing.models import UsageEvent


class Status(models.TextChoices):
    """Where a job stands. The last three are ends: a job reaches exactly one of them, once."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


UNFINISHED = (Status.QUEUED, Status.RUNNING)
ENDED = (Status.DONE, Status.FAILED, Status.CANCELLED)


def checkpoint_path(job: Job, filename: str) -> str:
    """Return the storage name of a kept work folder, of which ``filename`` is the SHA-256 with a suffix.

    It is a new one each time, so that a reader never meets half of one.
    """
    return f"{job.workspace.file_prefix}/checkpoints/{job.code}-{uuid.uuid4().hex}-{filename}"


class Job(models.Model):
    """One run in the queue. Only ``apps.jobs.services`` changes ``status``, always by conditional update."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="jobs")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(
        max_length=20, db_index=True
    )  # a word for people and filters: "training", "conversion", "slicing"
    title = models.CharField(max_length=200)
    task = models.CharField(max_length=200)  # dotted path of the function that does the work
    queue = models.CharField(max_length=20)
    url = models.CharField(max_length=300, blank=True)  # the page of what is being made
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    stage = models.CharField(max_length=100, blank=True)
    progress = models.FloatField(default=0.0)  # 0..1
    message = models.CharField(max_length=500, blank=True)  # for the user: why it failed, what was resumed
    error_id = models.CharField(max_length=36, blank=True)  # the log's id of a fault of ours
    request_id = models.CharField(max_length=36, blank=True, db_default="")  # of the request that submitted it
    attempt = models.PositiveIntegerField(default=0)  # how often a worker has claimed it
    checkpoint_attempt = models.PositiveIntegerField(default=0)  # the last attempt that kept a checkpoint
    checkpoint = models.FileField(upload_to=checkpoint_path, max_length=300, blank=True)  # the kept work folder
    retries = models.PositiveSmallIntegerField(default=0, db_default=0)  # tries after faults that may pass
    not_before = models.DateTimeField(null=True, blank=True)  # a queued job's next try
    worker = models.CharField(max_length=100, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    time_limit = models.PositiveIntegerField(default=3600)  # seconds for one attempt
    # What it may cost, set aside when it was submitted; none for what is free.
    usage = models.ForeignKey(UsageEvent, on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)  # of the newest attempt
    progress_at_start = models.FloatField(default=0.0)  # of the newest attempt, where a resumed one goes on
    expected_end_at = models.DateTimeField(null=True, blank=True)  # as the body itself expects it, in this attempt
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["queue", "status", "created_at"]),
            models.Index(fields=["workspace", "-created_at"]),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="job_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=ENDED, ended_at__isnull=False) | Q(status__in=UNFINISHED, ended_at__isnull=True),
                name="job_ended_at_matches_status",
            ),
            models.CheckConstraint(
                condition=Q(not_before=None) | Q(status=Status.QUEUED), name="job_waits_only_while_queued"
            ),
            models.CheckConstraint(
                condition=Q(progress__gte=0.0, progress__lte=1.0), name="job_progress_is_a_fraction"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.title} ({self.status})"

    @property
    def is_finished(self) -> bool:
        """Say whether the job has reached its end."""
        return self.status in ENDED

    def seconds_to_retry(self) -> float:
        """Return the time to the next try of a job that waits for one, in seconds."""
        return max(0.0, (self.not_before - timezone.now()).total_seconds()) if self.not_before else 0.0

    def seconds_left(self) -> float | None:
        """Return the time to the end in seconds, None while too little is known.

        The body's own estimate counts, as long as it is not over; else this attempt's pace so far.
        """
        if self.status == Status.RUNNING and self.expected_end_at is not None:
            left = (self.expected_end_at - timezone.now()).total_seconds()
            return left if left > 0 else None
        made = self.progress - self.progress_at_start
        if self.status != Status.RUNNING or self.started_at is None or made < 0.01:
            return None
        spent = (timezone.now() - self.started_at).total_seconds()
        return spent * (1.0 - self.progress) / made

    def seconds_spent(self) -> float | None:
        """Return how long the newest attempt took, or has taken so far, in seconds; None before it starts."""
        if self.started_at is None:
            return None
        return ((self.ended_at or timezone.now()) - self.started_at).total_seconds()


class Share(models.Model):
    """What a workspace has had of a queue, in the tags of start-time fair queueing; see ``apps.jobs.line``."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="shares")
    queue = models.CharField(max_length=20)
    start = models.FloatField()  # the queue's virtual time at which its last turn began, in turns of weight 1
    finish = models.FloatField()  # and ended: its next one begins no earlier

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "queue"], name="share_once_in_queue")]
        indexes = [models.Index(fields=["queue", "start"])]

    def __str__(self) -> str:
        return f"{self.workspace} in {self.queue}: {self.finish:g}"


class Fault(models.Model):
    """A fault of ours in an attempt of a job: where it was raised. For staff alone, and for a month."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="faults")
    attempt = models.PositiveIntegerField()
    error_id = models.CharField(max_length=36, db_index=True)  # as in the log
    name = models.CharField(max_length=100)  # of the exception's class
    traceback = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} in {self.job}"


def artifact_path(artifact: Artifact, filename: str) -> str:
    """Return the storage name: the workspace's folder and a code, never the user's own file name."""
    suffix = filename.rsplit(".", 1)[-1].lower() if "." in filename else "bin"
    return f"{artifact.workspace.file_prefix}/artifacts/{artifact.code}.{suffix}"


class Artifact(models.Model):
    """A file that a job made."""

    class Kind(models.TextChoices):
        AUDIO = "audio", "Audio"
        SAMPLE = "sample", "Training sample"
        REPORT = "report", "Report"
        EXPORT = "export", "Export"

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="artifacts")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="artifacts")
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=200)  # offered as the download's name
    file = models.FileField(upload_to=artifact_path, max_length=300, blank=True)  # empty once it has expired
    content_type = models.CharField(max_length=100)
    size = models.PositiveBigIntegerField()  # bytes
    sha256 = models.CharField(max_length=64)
    data = models.JSONField(default=dict, blank=True)  # sample_rate, samples, peaks, step ...: what its page shows
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)  # from then on it is served no more; its file goes next

    class Meta:
        ordering = ["created_at", "pk"]
        indexes = [models.Index(fields=["expires_at"], condition=~Q(file=""), name="artifact_to_expire")]
        constraints = [
            # Whatever attempt makes it: a job has one artifact of a kind and name.
            models.UniqueConstraint(fields=["job", "kind", "name"], name="artifact_once_in_job"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_stored(self) -> bool:
        """Say whether its file can still be had."""
        return self.expired_at is None

    def shown(self, key: str, default: Any = None) -> Any:
        """Return one of the facts kept for its page."""
        return self.data.get(key, default)
