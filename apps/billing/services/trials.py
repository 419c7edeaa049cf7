"""Who can have a trial: a person has one, whichever of their workspaces it is in."""

from __future__ import annotations

from datetime import datetime

from django.db.models import QuerySet

from apps.accounts.models import Role, User
from apps.billing.models import Subscription


def may_try(row: Subscription) -> bool:
    """Say whether a trial is open to the workspace: neither it nor its owner had one."""
    if row.trialed_at is not None:
        return False
    owner = _owner_of(row)
    if owner is None:
        return True
    return owner.trialed_at is None and not _of(owner).exclude(trialed_at=None).exists()


def remember(row: Subscription, at: datetime) -> None:
    """Write the trial down with the workspace's owner, where it stays when the workspace is gone."""
    owner = _owner_of(row)
    if owner is not None:
        User.objects.filter(pk=owner.pk, trialed_at=None).update(trialed_at=at)


def other_customers(row: Subscription) -> list[str]:
    """Return Stripe's customers of the other workspaces that the owner has: a trial may be open to them on a page."""
    owner = _owner_of(row)
    if owner is None:
        return []
    others = _of(owner).exclude(pk=row.pk).exclude(stripe_customer=None)
    return [str(code) for code in others.values_list("stripe_customer", flat=True)]


def _owner_of(row: Subscription) -> User | None:
    return User.objects.filter(memberships__workspace=row.workspace_id, memberships__role=Role.OWNER).first()


def _of(owner: User) -> QuerySet[Subscription]:
    return Subscription.objects.filter(workspace__memberships__user=owner, workspace__memberships__role=Role.OWNER)
