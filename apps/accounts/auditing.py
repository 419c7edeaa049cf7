"""The one way to write into a workspace's audit log."""

from __future__ import annotations

from typing import Any

from apps.accounts.models import AuditEvent, User, Workspace


def audit(
    *, workspace: Workspace, user: User | None, action: str, target: str = "", data: dict[str, Any] | None = None
) -> AuditEvent:
    """Write one line of the workspace's audit log; ``action`` is ``noun.verb``, ``target`` what a reader calls it."""
    return AuditEvent.objects.create(
        workspace=workspace, user=user, action=action, target=target[:200], data=data or {}
    )
