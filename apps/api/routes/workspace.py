"""The key's own workspace, who is in it, who is invited."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.shortcuts import get_object_or_404
from django.urls import reverse
from ninja import Query

from apps.accounts import mail, services
from apps.accounts.forms import InvitationForm, WorkspaceSettingsForm
from apps.accounts.models import Membership
from apps.accounts.models import Workspace as Rows
from apps.api.auth import ApiRequest
from apps.api.door import Routes
from apps.api.forms import require_valid
from apps.api.paging import page_of
from apps.api.schemas.base import Page, Paging
from apps.api.schemas.workspace import (
    Invitation,
    Member,
    NewInvitation,
    RoleChange,
    SentInvitation,
    Workspace,
    WorkspaceChange,
)

routes = Routes("workspace")


@routes.read("/workspace", Workspace)
def get_workspace(request: ApiRequest) -> Workspace:
    """The workspace that the key opens."""
    return Workspace.of(request.caller.workspace)


@routes.write("PATCH", "/workspace", Workspace, role="admin")
def change_workspace(request: ApiRequest, given: WorkspaceChange) -> Workspace:
    """Rename the workspace."""
    row = request.caller.workspace
    data = {"name": row.name, "slug": row.slug, **given.model_dump(exclude_none=True)}
    # The form writes into its instance what is not saved yet.
    form = require_valid(WorkspaceSettingsForm(data, instance=Rows.objects.get(pk=row.pk)))
    chosen = form.cleaned_data
    changed = services.rename(workspace=row, user=request.caller.user, name=chosen["name"], slug=chosen["slug"])
    return Workspace.of(changed)


@routes.read("/members", Page[Member])
def list_members(request: ApiRequest, paging: Query[Paging]) -> Page[Member]:
    """Who is in the workspace."""
    rows = request.caller.workspace.memberships.select_related("user")
    return page_of(request, rows, paging, Page[Member], Member.of)


def _member(request: ApiRequest, code: UUID) -> Membership:
    rows = request.caller.workspace.memberships.select_related("user", "workspace")
    return get_object_or_404(rows, code=code)


@routes.read("/members/{uuid:member}", Member)
def get_member(request: ApiRequest, member: UUID) -> Member:
    """One member."""
    return Member.of(_member(request, member))


@routes.write("PATCH", "/members/{uuid:member}", Member, role="admin")
def change_member(request: ApiRequest, member: UUID, given: RoleChange) -> Member:
    """Give a member another role."""
    row = _member(request, member)
    services.change_role(membership=row, user=request.caller.user, role=given.role)
    row.refresh_from_db(fields=["role"])
    return Member.of(row)


@routes.write("DELETE", "/members/{uuid:member}", None, role="admin", status=204)
def remove_member(request: ApiRequest, member: UUID) -> None:
    """Remove a member."""
    row = _member(request, member)
    services.remove_member(membership=row, user=request.caller.user)
    mail.removed_letter(row.workspace, row.user)


@routes.read("/invitations", Page[Invitation], role="admin")
def list_invitations(request: ApiRequest, paging: Query[Paging]) -> Page[Invitation]:
    """Invitations that nobody has accepted yet."""
    rows = request.caller.workspace.invitations.filter(accepted_at=None)
    return page_of(request, rows, paging, Page[Invitation], Invitation.of)


@routes.write("POST", "/invitations", SentInvitation, role="admin", status=201, secret=True)
def invite(request: ApiRequest, given: NewInvitation) -> SentInvitation:
    """Invite somebody by letter."""
    chosen = require_valid(InvitationForm(given.model_dump())).cleaned_data
    caller = request.caller
    invitation, token = services.invite(
        workspace=caller.workspace, user=caller.user, email=chosen["email"], role=chosen["role"]
    )
    link = f"{settings.SITE_URL}{reverse('accounts:invitation', args=[token])}"
    mailed = mail.invitation_letter(invitation, link)
    return SentInvitation(**dict(Invitation.of(invitation)), link=link, mailed=mailed)


@routes.write("DELETE", "/invitations/{uuid:invitation}", None, role="admin", status=204)
def withdraw_invitation(request: ApiRequest, invitation: UUID) -> None:
    """Take an invitation back."""
    row = get_object_or_404(request.caller.workspace.invitations.select_related("workspace"), code=invitation)
    services.withdraw(invitation=row, user=request.caller.user)
