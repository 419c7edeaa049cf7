"""The one way to write into the audit logs of workspaces."""

from __future__ import annotations

from typing import Any

from apps.accounts.models import AuditEvent, Membership, User, Workspace


def audit(
    *, workspace: Workspace, user: User | None, action: str, target: str = "", data: dict[str, Any] | None = None
) -> AuditEvent:
    """Write one line of the workspace's audit log; ``action`` is ``noun.verb``, ``target`` what a reader calls it."""
    return AuditEvent.objects.create(
        workspace=workspace, user=user, action=action, target=target[:200], data=data or {}
    )


def audit_everywhere(*, user: User, action: str, data: dict[str, Any] | None = None) -> None:
    """Write what concerns how a person gets in into the log of every workspace that they get into."""
    found = Membership.objects.filter(user=user, workspace__deleted_at=None).values_list("workspace", flat=True)
    lines = (AuditEvent(workspace_id=pk, user=user, action=action, target=user.email, data=data or {}) for pk in found)
    AuditEvent.objects.bulk_create(lines)
