"""What programs asked for under an Idempotency-Key, so that asking again does nothing twice."""

from __future__ import annotations

import uuid

from django.db import models

from apps.accounts.models import ApiKey, Workspace


class State(models.TextChoices):
    """Where a request stands."""

    RUNNING = "running", "Running"
    DONE = "done", "Done"


class ApiCall(models.Model):
    """One request and its answer. The answer is sealed, as it may hold what the database alone must not tell."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="api_calls")
    api_key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="calls")
    key = models.CharField("idempotency key", max_length=255)
    method = models.CharField(max_length=10)
    path = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)  # of the method, the address and the body
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    claim = models.UUIDField(default=uuid.uuid4, editable=False)  # who runs it: a new one each time it is taken over
    claimed_at = models.DateTimeField()
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    headers = models.JSONField(default=dict, blank=True)
    is_kept = models.BooleanField(default=False)  # whether a repetition gets the answer itself
    sealed_body = models.TextField(blank=True)  # as base64, before it was sealed
    created_at = models.DateTimeField(db_index=True)  # a day later the key is free again

    class Meta:
        ordering = ["-created_at", "-pk"]
        constraints = [models.UniqueConstraint(fields=["workspace", "key"], name="api_call_once")]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
