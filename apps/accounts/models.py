"""People and workspaces. A workspace is the tenant: every row and file belongs to one."""

from __future__ import annotations

import secrets
import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone


class UserManager(BaseUserManager["User"]):
    """Makes people who are known by their e-mail address alone."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractUser):
    """A person who can log in, by e-mail."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail address", unique=True)
    name = models.CharField(max_length=100, blank=True)
    mail_when_ready = models.BooleanField("Write to me when something long is ready", default=True, db_default=True)

    trialed_at = models.DateTimeField(null=True, blank=True, editable=False)  # there is one trial of a plan

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = [models.UniqueConstraint(Lower("email"), name="user_email_whatever_case")]

    def __str__(self) -> str:
        return self.name or self.email


class Role(models.TextChoices):
    """What a member may do; each role may do all that the next one may."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    EDITOR = "editor", "Editor"
    VIEWER = "viewer", "Viewer"

    @property
    def rank(self) -> int:
        """0 for a viewer up to 3 for an owner."""
        return [Role.VIEWER, Role.EDITOR, Role.ADMIN, Role.OWNER].index(self)

    def at_least(self, other: str) -> bool:
        """Say whether this role may do what ``other`` may."""
        return self.rank >= Role(other).rank


class Workspace(models.Model):
    """The tenant. ``deleted_at`` starts the grace period after which the sweep removes it with all it owns."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=80)
    slug = models.SlugField(max_length=60, unique=True)
    personal = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    # What its plan gives it in the queues: jobs of one queue at once (None: the site's default, 0: any number), and
    # turns for each turn of a workspace of weight 1.
    job_limit = models.PositiveSmallIntegerField(null=True, blank=True)
    job_weight = models.PositiveSmallIntegerField(default=1, db_default=1, validators=[MinValueValidator(1)])
    retention_days = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        help_text="How many days results and their sources are kept; 0 for ever, empty as this site's settings say.",
    )
    retention_applied = models.PositiveSmallIntegerField(
        null=True, blank=True, editable=False
    )  # days, to what is there
    # What its plan lets it hold; None is any number.
    seats = models.PositiveIntegerField(null=True, blank=True)
    voice_limit = models.PositiveIntegerField(null=True, blank=True)
    storage_limit = models.PositiveBigIntegerField(null=True, blank=True)  # bytes
    warned_at = models.DateTimeField(null=True, blank=True, editable=False)  # the last letter about what expires
    warned_until = models.DateTimeField(null=True, blank=True, editable=False)  # what expires by then was in a letter
    members = models.ManyToManyField(User, through="Membership", related_name="workspaces")

    class Meta:
        ordering = ["name"]
        constraints = [models.CheckConstraint(condition=models.Q(job_weight__gte=1), name="workspace_weighs_something")]

    def __str__(self) -> str:
        return self.name

    @property
    def file_prefix(self) -> str:
        """Where all files of this workspace live in the storage."""
        return f"w/{self.code}"

    @property
    def keeps_days(self) -> int:
        """How many days its results and their sources are kept; 0 is for ever."""
        return settings.RETENTION_DAYS if self.retention_days is None else self.retention_days

    @property
    def removed_for_good_at(self) -> Any:
        """When the grace period of a deleted workspace ends."""
        return self.deleted_at and self.deleted_at + timedelta(days=settings.WORKSPACE_GRACE_DAYS)


class Membership(models.Model):
    """A user in a workspace with a role; exactly one member of a workspace is its owner."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="membership_once"),
            models.UniqueConstraint(
                fields=["workspace"], condition=models.Q(role="owner"), name="workspace_has_one_owner"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.workspace} as {self.role}"

    def may(self, role: str) -> bool:
        """Say whether this member may do what ``role`` may."""
        return Role(self.role).at_least(role)


def invitation_token() -> str:
    """Return an unguessable token (256 bits) for the link in the letter."""
    return secrets.token_urlsafe(32)


class Invitation(models.Model):
    """An e-mail link into a workspace. Only the SHA-256 of its token is stored."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=10, choices=[choice for choice in Role.choices if choice[0] != "owner"])
    token_hash = models.CharField(max_length=64, unique=True)
    invited_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.email} to {self.workspace}"

    @property
    def is_open(self) -> bool:
        """Say whether the link still works."""
        return self.accepted_at is None and self.expires_at > timezone.now()


class AuditEvent(models.Model):
    """One line of a workspace's record of security and consent events; never changed, never deleted by a page."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="audit_events")
    user = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=200, blank=True)
    data = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.action} {self.target}"


class Scope(models.TextChoices):
    """What an API key may do at most; its owner's own role may allow less."""

    READ = "read", "Read: look and download"
    CREATE = "create", "Create: also upload, train and convert"
    ADMIN = "admin", "Admin: also members, webhooks and deletions"

    @property
    def role(self) -> Role:
        """The role whose rights the scope stands for."""
        return {Scope.READ: Role.VIEWER, Scope.CREATE: Role.EDITOR, Scope.ADMIN: Role.ADMIN}[self]


class ApiKey(models.Model):
    """A program's way into one workspace, as the member who made it. Only the SHA-256 of the key is stored."""

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="api_keys")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=80)
    scope = models.CharField(max_length=10, choices=Scope)
    start = models.CharField(max_length=12)  # the key's first letters, by which people tell keys apart
    key_hash = models.CharField(max_length=64, unique=True)
    old_key_hash = models.CharField(max_length=64, unique=True, null=True, blank=True)  # before it was rotated
    old_key_until = models.DateTimeField(null=True, blank=True)  # when the old one stops working
    caps = models.JSONField(default=dict, blank=True)  # meter -> how much of it the key may use in a period
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.start}…)"

    @property
    def is_usable(self) -> bool:
        """Say whether it still opens the workspace, as far as the key itself goes."""
        return self.revoked_at is None and not self.has_expired

    @property
    def has_expired(self) -> bool:
        """Say whether its time is over."""
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def has_overlap(self) -> bool:
        """Say whether the secret before the last rotation still works."""
        return self.old_key_until is not None and self.old_key_until > timezone.now() and self.is_usable


class ErasureReport(models.Model):
    """What was removed of a workspace, and how far its removal has come. It outlives the workspace, so it says little:
    name and address are needed for the last letter only, and are forgotten with it.
    """

    code = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    workspace_code = models.UUIDField(unique=True)
    name = models.CharField(max_length=80, blank=True)
    email = models.EmailField(blank=True)  # the owner's
    at_once = models.BooleanField(default=False)  # the owner did not want the grace period
    asked_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)
    rows = models.JSONField(default=dict)  # model -> how many
    files = models.PositiveBigIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    held_until = models.DateTimeField(null=True, blank=True)  # a sweep works on it
    pending = models.JSONField(default=list)  # [name, bytes] of files that are being removed and not counted yet
    verified = models.BooleanField(default=False)  # afterwards the storage listed nothing of it

    class Meta:
        ordering = ["-asked_at"]

    def __str__(self) -> str:
        return f"Erasure of {self.workspace_code}"

    @property
    def file_prefix(self) -> str:
        """Where the workspace's files lay in the storage."""
        return f"w/{self.workspace_code}"
