"""What people do with workspaces: each activity in one transaction, written to the workspace's audit log.

All that changes who is a member locks the workspace's row first, so two of them never interleave.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from datetime import timedelta

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from apps.accounts import keys
from apps.accounts.auditing import audit as audit
from apps.accounts.models import (
    ErasureReport,
    Invitation,
    Membership,
    Role,
    User,
    Workspace,
    invitation_token,
)
from apps.errors import Refused

logger = logging.getLogger(__name__)

OPEN_INVITATIONS_MAX = 100
INVITATIONS_PER_DAY = 200  # letters to strangers, in the site's name
OWNED_MAX = 50
INVITED = "invitation.sent"


def create_workspace(*, user: User, name: str, personal: bool = False) -> Workspace:
    """Make a workspace that ``user`` owns; its address is made from ``name`` and is free for sure."""
    if Membership.objects.filter(user=user, role=Role.OWNER).count() >= OWNED_MAX:
        raise Refused(f"You own {OWNED_MAX} workspaces. Hand one over or delete one first.", status=409)
    base = slugify(name)[:50].strip("-") or "workspace"
    for attempt in range(6):
        slug = base if attempt == 0 else f"{base}-{secrets.token_hex(3)}"
        try:
            with transaction.atomic():
                workspace = Workspace.objects.create(name=name, slug=slug, personal=personal)
                Membership.objects.create(workspace=workspace, user=user, role=Role.OWNER)
                audit(workspace=workspace, user=user, action="workspace.created", target=name)
                return workspace
        except IntegrityError:
            if not Workspace.objects.filter(slug=slug).exists():
                raise
    raise Refused("No free address was found for this name. Choose another name.", status=409)


def rename(*, workspace: Workspace, user: User, name: str, slug: str) -> Workspace:
    """Give the workspace another name and address; old links stop working."""
    with transaction.atomic():
        row = _locked(workspace)
        if Workspace.objects.filter(slug=slug).exclude(pk=row.pk).exists():
            raise Refused("This address is taken. Choose another.", status=409)
        before = {"name": row.name, "slug": row.slug}
        row.name, row.slug = name, slug
        row.save(update_fields=["name", "slug"])
        audit(workspace=row, user=user, action="workspace.renamed", target=name, data={"before": before})
    return row


def token_hash(token: str) -> str:
    """Return the SHA-256 under which an invitation's token is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def invite(*, workspace: Workspace, user: User, email: str, role: str) -> tuple[Invitation, str]:
    """Invite an address to the workspace and return the invitation with its token, which nobody can learn again.

    An earlier open invitation of the same address is replaced, and an open one takes a seat. Raises Refused for
    members, for too many at once, and (402) when the plan has no seat left.
    """
    email = email.strip().lower()
    token = invitation_token()
    with transaction.atomic():
        row = _locked(workspace)
        if workspace.memberships.filter(user__email__iexact=email).exists():
            raise Refused(f"{email} is already a member of this workspace.", status=409)
        workspace.invitations.filter(email=email, accepted_at=None).delete()
        sent = workspace.audit_events.filter(action=INVITED, created_at__gt=timezone.now() - timedelta(days=1))
        if sent.count() >= INVITATIONS_PER_DAY:
            raise Refused(f"{INVITATIONS_PER_DAY} invitations were sent today. Go on tomorrow.", status=429)
        open_ones = workspace.invitations.filter(accepted_at=None, expires_at__gt=timezone.now()).count()
        if open_ones >= OPEN_INVITATIONS_MAX:
            raise Refused(f"{OPEN_INVITATIONS_MAX} invitations are open. Withdraw some first.", status=409)
        _require_seat(row, "Remove a member, withdraw an invitation or choose a larger plan.", open_ones)
        invitation = Invitation.objects.create(
            workspace=workspace,
            email=email,
            role=role,
            token_hash=token_hash(token),
            invited_by=user,
            expires_at=timezone.now() + timedelta(days=settings.INVITATION_DAYS),
        )
        audit(workspace=workspace, user=user, action=INVITED, target=email, data={"role": role})
    return invitation, token


def withdraw(*, invitation: Invitation, user: User) -> None:
    """Take an invitation back; its link stops working at once."""
    with transaction.atomic():
        workspace = _locked(invitation.workspace)
        if not Invitation.objects.filter(pk=invitation.pk, accepted_at=None).delete()[0]:
            raise Refused("This invitation was just accepted. Remove the member instead.", status=409)
        audit(workspace=workspace, user=user, action="invitation.withdrawn", target=invitation.email)


def open_invitation(token: str) -> Invitation:
    """Return the invitation of a link; raise Refused (410) when the link no longer works."""
    invitation = (
        Invitation.objects.select_related("workspace", "invited_by").filter(token_hash=token_hash(token)).first()
    )
    if invitation is None or not invitation.is_open or invitation.workspace.deleted_at is not None:
        raise Refused("This invitation has expired or was withdrawn. Ask for a new one.", status=410)
    return invitation


def is_addressed_to(invitation: Invitation, user: User) -> bool:
    """Say whether the invitation was sent to this person: to their address, or to another that they proved."""
    if user.email.lower() == invitation.email:
        return True
    return bool(EmailAddress.objects.filter(user=user, email__iexact=invitation.email, verified=True).exists())


def accept(*, token: str, user: User) -> Membership:
    """Make ``user`` a member by the link of the letter. The link works once, and only for whom it was sent to.

    Raises Refused, (402) when all seats are taken: the plan may have become smaller since the letter was sent.
    """
    with transaction.atomic():
        invitation = open_invitation(token)
        workspace = _locked(invitation.workspace)
        if not is_addressed_to(invitation, user):
            raise Refused(
                f"This invitation was sent to {invitation.email}, and you are logged in as {user.email}. "
                "Log in with the invited address, or ask for an invitation to yours.",
                status=403,
            )
        claimed = Invitation.objects.filter(pk=invitation.pk, accepted_at=None).update(accepted_at=timezone.now())
        if claimed != 1:
            raise Refused("This invitation was used or withdrawn a moment ago. Ask for a new one.", status=410)
        if not workspace.memberships.filter(user=user).exists():
            _require_seat(workspace, "Ask its owner for a larger plan, then use the link again.")
        membership, is_new = Membership.objects.get_or_create(
            workspace=workspace, user=user, defaults={"role": invitation.role}
        )
        if is_new:
            audit(
                workspace=workspace,
                user=user,
                action="member.joined",
                target=user.email,
                data={"role": membership.role},
            )
    return membership


def change_role(*, membership: Membership, user: User, role: str) -> None:
    """Give a member another role than owner. Ownership moves only by ``transfer``."""
    with transaction.atomic():
        workspace = _locked(membership.workspace)
        rows = Membership.objects.filter(pk=membership.pk).exclude(role=Role.OWNER)
        if role == Role.OWNER or not rows.update(role=role):
            raise Refused("The owner keeps their role until they hand the workspace over.", status=409)
        audit(
            workspace=workspace,
            user=user,
            action="member.role",
            target=membership.user.email,
            data={"before": membership.role, "after": role},
        )


def remove_member(*, membership: Membership, user: User) -> None:
    """Take a member other than the owner out of the workspace; what they made stays, but their API keys close."""
    with transaction.atomic():
        workspace = _locked(membership.workspace)
        if not Membership.objects.filter(pk=membership.pk).exclude(role=Role.OWNER).delete()[0]:
            raise Refused("The owner cannot go. Hand the workspace over first.", status=409)
        action = "member.left" if membership.user == user else "member.removed"
        audit(workspace=workspace, user=user, action=action, target=membership.user.email)
        keys.revoke_of(workspace=workspace, member=membership.user, user=user)


def transfer(*, workspace: Workspace, owner: User, to: Membership) -> None:
    """Hand the workspace over: ``to`` becomes its owner and the owner an admin, both or neither."""
    with transaction.atomic():
        row = _locked(workspace)
        stepped_down = Membership.objects.filter(workspace=row, user=owner, role=Role.OWNER).update(role=Role.ADMIN)
        if stepped_down != 1:
            raise Refused("You no longer own this workspace.", status=409)
        rose = Membership.objects.filter(workspace=row, pk=to.pk).exclude(user=owner).update(role=Role.OWNER)
        if rose != 1:
            raise Refused("Choose another member of this workspace as its new owner.", status=409)
        row.personal = False
        row.save(update_fields=["personal"])
        audit(workspace=row, user=owner, action="workspace.transferred", target=to.user.email)


def delete_workspace(*, workspace: Workspace, user: User) -> None:
    """Close the workspace to everybody; its owner can restore it until the grace period ends."""
    with transaction.atomic():
        row = _locked(workspace)
        row.deleted_at = timezone.now()
        row.save(update_fields=["deleted_at"])
        audit(workspace=row, user=user, action="workspace.deleted", target=row.name)


def restore_workspace(*, workspace: Workspace, user: User) -> Workspace:
    """Open a deleted workspace again within its grace period."""
    with transaction.atomic():
        row = _locked(workspace)
        if row.deleted_at is None:
            raise Refused("This workspace is not deleted.", status=409)
        begun = ErasureReport.objects.filter(workspace_code=row.code).exists()
        if begun or row.removed_for_good_at <= timezone.now():
            raise Refused("The time to restore this workspace is over.", status=410)
        row.deleted_at = None
        row.save(update_fields=["deleted_at"])
        audit(workspace=row, user=user, action="workspace.restored", target=row.name)
    return row


def erase_workspace(*, workspace: Workspace, user: User) -> ErasureReport:
    """Close the workspace and have it removed at once, without a grace period: nobody can restore it any more."""
    with transaction.atomic():
        row = _locked(workspace)
        if ErasureReport.objects.filter(workspace_code=row.code).exists():
            raise Refused("This workspace is being removed already.", status=409)
        Workspace.objects.filter(pk=row.pk).update(deleted_at=row.deleted_at or timezone.now())
        logger.info("workspace %s is to be erased at once, said user %s", row.code, user.pk)
        return open_erasure(row, at_once=True)


def open_erasure(workspace: Workspace, *, at_once: bool = False) -> ErasureReport:
    """Begin the report of a removal; from here on the sweep removes the workspace. The caller holds its row."""
    owner = workspace.memberships.select_related("user").filter(role=Role.OWNER).first()
    return ErasureReport.objects.create(
        workspace_code=workspace.code, name=workspace.name, email=owner.user.email if owner else "", at_once=at_once
    )


def erase_account(*, user: User) -> list[ErasureReport]:
    """Remove a person, with the workspaces that are theirs alone; what they made in others stays there without them.

    Raises Refused (409) while they own a workspace with other members, and to staff.
    """
    with transaction.atomic():
        if user.is_staff:
            raise Refused(
                "Your account looks after this site. Another of its staff can remove it in the admin.", status=409
            )
        owned = Workspace.objects.select_for_update().filter(memberships__user=user, memberships__role=Role.OWNER)
        mine = list(owned)
        for workspace in mine:
            if workspace.deleted_at is None and workspace.memberships.exclude(user=user).exists():
                raise Refused(
                    f"“{workspace}” has other members. Hand it over to one of them or delete it first.", status=409
                )
        begun = set(ErasureReport.objects.values_list("workspace_code", flat=True))
        reports = [erase_workspace(workspace=one, user=user) for one in mine if one.code not in begun]
        for session in UserSession.objects.filter(user=user):
            session.end()
        for left in Membership.objects.filter(user=user).exclude(role=Role.OWNER).select_related("workspace"):
            keys.revoke_of(workspace=left.workspace, member=user, user=None)
            audit(workspace=left.workspace, user=None, action="member.left", data={"account": "deleted"})
        user.delete()
    return reports


def seats_taken(workspace: Workspace) -> int:
    """Return how many seats are taken: by members, and by invitations that can still be accepted."""
    invited = workspace.invitations.filter(accepted_at=None, expires_at__gt=timezone.now())
    return workspace.memberships.count() + invited.count()


def _require_seat(workspace: Workspace, remedy: str, invited: int = 0) -> None:
    """Raise Refused (402) unless the plan has a seat beyond those of members and of the ``invited``."""
    if workspace.seats is not None and workspace.memberships.count() + invited >= workspace.seats:
        seats = f"{workspace.seats} seat{'' if workspace.seats == 1 else 's'}"
        raise Refused(f"The plan of “{workspace}” has {seats}, and all are taken. {remedy}", status=402)


def _locked(workspace: Workspace) -> Workspace:
    """Return the workspace's row, held until the transaction ends."""
    return Workspace.objects.select_for_update().get(pk=workspace.pk)
