"""Where a workspace wants its events sent, and the outbox of what is to be sent."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

from apps.accounts import sealing
from apps.accounts.models import User, Workspace

PURPOSE = "webhook secret"


class Endpoint(models.Model):
    """An address of a receiver. Its secrets are sealed, so that a copy of the database alone can sign nothing."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="webhook_endpoints")
    url = models.CharField(max_length=500)
    description = models.CharField(max_length=200, blank=True)
    events = models.JSONField(default=list, blank=True)  # names of the catalog; none: all, also those that come later
    sealed_secret = models.TextField()
    sealed_previous_secret = models.TextField(blank=True)
    previous_secret_until = models.DateTimeField(null=True, blank=True)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=300, blank=True)  # for people; empty when a member switched it off
    failing_since = models.DateTimeField(null=True, blank=True)  # the first of the failures since the last success
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "pk"]

    def __str__(self) -> str:
        return self.url

    def wants(self, event: str) -> bool:
        """Say whether the receiver asked for the event."""
        return not self.events or event in self.events

    def secrets_in_force(self) -> list[str]:
        """Return the secrets to sign with, the newest first: after a change two for a while."""
        sealed = [self.sealed_secret]
        if self.previous_secret_until is not None and self.previous_secret_until > timezone.now():
            sealed.append(self.sealed_previous_secret)
        return [sealing.unseal(each, purpose=PURPOSE) for each in sealed]


class Status(models.TextChoices):
    """Where a delivery stands."""

    WAITING = "waiting", "Waiting"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"


class Delivery(models.Model):
    """One event for one endpoint. Waiting ones are the outbox: they are inserted with what they tell of."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)  # the receiver's ``webhook-id``
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    body = models.TextField()  # JSON, byte for byte as it is signed and sent
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)  # all that were begun; only the newest may write its outcome
    retries = models.PositiveSmallIntegerField(default=0)  # steps of the schedule used up; a replay starts anew
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["endpoint", "-created_at"], name="delivery_log"),
            models.Index(fields=["created_at"], name="delivery_age"),
            models.Index(
                fields=["next_attempt_at", "endpoint"], condition=Q(status=Status.WAITING), name="delivery_outbox"
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=Status.values), name="delivery_status_known"),
            models.CheckConstraint(
                condition=Q(status=Status.WAITING, next_attempt_at__isnull=False, ended_at__isnull=True)
                | Q(~Q(status=Status.WAITING), next_attempt_at__isnull=True, ended_at__isnull=False),
                name="delivery_waits_or_has_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.endpoint_id} ({self.status})"

    @property
    def is_soon(self) -> bool:
        """Say whether something is about to happen to it, so that its page asks by itself."""
        soon = timezone.now() + timedelta(minutes=1)
        return self.endpoint.enabled and self.next_attempt_at is not None and self.next_attempt_at < soon

    @property
    def last_attempt(self) -> Any:
        """The newest attempt whose outcome is known, or None."""
        return max(self.log.all(), key=lambda attempt: attempt.number, default=None)


class Attempt(models.Model):
    """One request to a receiver, and what came of it."""

    delivery = models.ForeignKey(Delivery, on_delete=models.CASCADE, related_name="log")
    number = models.PositiveIntegerField()  # 1 for the first
    sent_at = models.DateTimeField()  # in whole seconds ``webhook-timestamp``
    signature = models.CharField(max_length=300)  # ``webhook-signature``
    duration_ms = models.PositiveIntegerField()
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True)  # a sentence for people; empty after a 2xx
    answer = models.TextField(blank=True)  # the beginning of the receiver's answer

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["delivery", "number"], name="attempt_once")]

    def __str__(self) -> str:
        return f"attempt {self.number}: {self.status_code or self.error}"
