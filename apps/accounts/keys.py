"""API keys: made, found again by what a program sends, rotated and revoked.

A key is shown once and stored as its SHA-256: 256 random bits need no slow hash. It opens its workspace as the member
who made it, with the lesser of its scope and that member's role, and closes with the membership.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from apps.accounts.auditing import audit
from apps.accounts.models import ApiKey, Membership, Role, Scope, User, Workspace
from apps.errors import Refused

KEYS_MAX = 25  # of one member, so that nobody takes the others' place
START_LETTERS = 10
PREFIX = "vc_"
# Writing each use would be a write a request; people look at the minute at most.
_USE_WRITTEN_EVERY = timedelta(minutes=1)
# The key of the request at hand, which what is submitted by it is counted under.
in_use: ContextVar[ApiKey | None] = ContextVar("api_key", default=None)


@dataclass(frozen=True)
class Caller:
    """Who stands behind an accepted key."""

    key: ApiKey
    membership: Membership

    @property
    def workspace(self) -> Workspace:
        """The one workspace that the key opens."""
        return self.membership.workspace

    @property
    def user(self) -> User:
        """The member who made the key: what it does is done in their name."""
        return self.membership.user

    def may(self, role: str) -> bool:
        """Say whether the key may do what members of ``role`` may."""
        return self.membership.may(role) and Scope(self.key.scope).role.at_least(role)


def key_hash(token: str) -> str:
    """Return the SHA-256 under which a key is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def caller_of(token: str) -> Caller | None:
    """Return who stands behind a key as it was sent, or None when it opens nothing (any more)."""
    now, digest = timezone.now(), key_hash(token)
    rows = ApiKey.objects.select_related("workspace", "user")
    rows = rows.filter(Q(key_hash=digest) | Q(old_key_hash=digest, old_key_until__gt=now))
    key = rows.filter(workspace__deleted_at=None, user__is_active=True).first()
    if key is None or not key.is_usable:
        return None
    membership = Membership.objects.filter(workspace=key.workspace_id, user=key.user_id).first()
    if membership is None:
        return None
    membership.workspace, membership.user = key.workspace, key.user
    if key.last_used_at is None or key.last_used_at < now - _USE_WRITTEN_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
    return Caller(key, membership)


@transaction.atomic
def issue(
    *,
    membership: Membership,
    name: str,
    scope: str,
    caps: dict[str, int] | None = None,
    expires_at: datetime | None = None,
    code: uuid.UUID | None = None,
) -> tuple[ApiKey, str]:
    """Make a key and return it with what the program sends, which nobody can learn again.

    Who names the ``code`` makes one key by it, however often this is called. Raises Refused: 403 for a scope above the
    member's own role, 409 when the member has too many that still open something, or the code was used.
    """
    workspace = Workspace.objects.select_for_update(no_key=True).get(pk=membership.workspace_id)
    _require_role(membership, scope)
    usable = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    if workspace.api_keys.filter(usable, user=membership.user, revoked_at=None).count() >= KEYS_MAX:
        raise Refused(f"A member has at most {KEYS_MAX} API keys; revoke one of yours first.", status=409)
    code = code or uuid.uuid4()
    if ApiKey.objects.filter(code=code).exists():
        raise Refused("This key was made already, and is shown only once. Revoke it and make another.", status=409)
    token = new_token()
    key = ApiKey.objects.create(
        code=code,
        workspace=workspace,
        user=membership.user,
        name=name,
        scope=scope,
        start=token[:START_LETTERS],
        key_hash=key_hash(token),
        caps=caps or {},
        expires_at=expires_at,
    )
    until = expires_at.isoformat() if expires_at else None
    _write_down(key, membership.user, "created", scope=scope, caps=key.caps, expires_at=until)
    return key, token


def new_token() -> str:
    """Return a new key as a program sends it: 256 random bits."""
    return f"{PREFIX}{secrets.token_urlsafe(32)}"


@transaction.atomic
def rotate(*, key: ApiKey, user: User, overlap: timedelta) -> str:
    """Give the key as it was read a new secret and return it; the old one works for ``overlap`` on.

    Of two at once one is done, so nobody's secret is lost unseen. Raises Refused (409) then, and once it is revoked.
    """
    token = new_token()
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at=None, key_hash=key.key_hash).update(
        old_key_hash=F("key_hash"),
        old_key_until=timezone.now() + overlap,
        key_hash=key_hash(token),
        start=token[:START_LETTERS],
    )
    if not changed:
        raise Refused("This key was revoked, or has got a new secret meanwhile. Look at its state.", status=409)
    _write_down(key, user, "rotated", overlap_seconds=round(overlap.total_seconds()))
    return token


@transaction.atomic
def revoke(*, key: ApiKey, user: User | None) -> bool:
    """Close the key for good, at once; say whether this call did."""
    if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now()):
        return False
    _write_down(key, user, "revoked")
    return True


def revoke_of(*, workspace: Workspace, member: User, user: User | None) -> int:
    """Close all keys that a member has in the workspace; say how many that were."""
    return sum(revoke(key=key, user=user) for key in workspace.api_keys.filter(user=member, revoked_at=None))


def _require_role(membership: Membership, scope: str) -> None:
    needed: Role = Scope(scope).role
    if not membership.may(needed):
        raise Refused(f"A key with this scope needs the role {needed.label.lower()}; yours is less.", status=403)


def _write_down(key: ApiKey, user: User | None, what: str, **data: Any) -> None:
    found = {"code": str(key.code), "start": key.start, **data}
    audit(workspace=key.workspace, user=user, action=f"api_key.{what}", target=key.name, data=found)
