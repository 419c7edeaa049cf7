"""Pages about workspaces and who is in them."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts import mail, services
from apps.accounts.access import WorkspaceRequest, member, membership_of
from apps.accounts.forms import (
    DeleteWorkspaceForm,
    EraseAccountForm,
    EraseWorkspaceForm,
    InvitationForm,
    RoleForm,
    TransferForm,
    WorkspaceForm,
    WorkspaceSettingsForm,
)
from apps.accounts.models import Membership, Role, Workspace
from apps.errors import Refused

NEW_LINK = "invitation_link"


def _team_page(request: WorkspaceRequest, form: InvitationForm | None = None, status: int = 200) -> HttpResponse:
    workspace = request.workspace
    members = list(workspace.memberships.select_related("user"))
    members.sort(key=lambda membership: -Role(membership.role).rank)
    may_manage = request.membership.may("admin")
    invitations = workspace.invitations.filter(accepted_at=None)
    context = {
        "workspace": workspace,
        "members": members,
        "roles": RoleForm.base_fields["role"].choices,  # type: ignore[attr-defined]  # it is a ChoiceField
        "may_manage": may_manage,
        "invitations": invitations if may_manage else None,
        "form": form or InvitationForm(),
        "new_link": request.session.pop(NEW_LINK, None) if may_manage else None,
    }
    return render(request, "accounts/team.html", context, status=status)


@require_safe
@member("viewer")
def team(request: WorkspaceRequest) -> HttpResponse:
    """Who is in the workspace, as what; admins also see the open invitations."""
    return _team_page(request)


@require_POST
@member("admin")
def invite(request: WorkspaceRequest) -> HttpResponse:
    """Send an invitation and show its link once, for when letters do not arrive."""
    form = InvitationForm(request.POST)
    if form.is_valid():
        try:
            invitation, token = services.invite(
                workspace=request.workspace,
                user=request.user,
                email=form.cleaned_data["email"],
                role=form.cleaned_data["role"],
            )
        except Refused as refused:
            form.add_error("email", refused.message)
    if not form.is_valid():
        return _team_page(request, form, status=422)
    link = request.build_absolute_uri(reverse("accounts:invitation", args=[token]))
    if mail.invitation_letter(invitation, link):
        messages.success(request, f"The invitation to {invitation.email} is on its way.")
    else:
        messages.warning(request, "The mail server did not take the letter. Send the link below yourself.")
    request.session[NEW_LINK] = {"email": invitation.email, "link": link}
    return redirect("accounts:team", request.workspace.slug)


@require_POST
@member("admin")
def withdraw(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Take an invitation back."""
    invitation = get_object_or_404(request.workspace.invitations, code=code)
    services.withdraw(invitation=invitation, user=request.user)
    messages.success(request, f"The invitation to {invitation.email} no longer works.")
    return redirect("accounts:team", request.workspace.slug)


@require_POST
@member("admin")
def role(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Give a member another role."""
    membership = get_object_or_404(request.workspace.memberships.select_related("user"), code=code)
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise Refused("Choose one of the roles admin, editor or viewer.", status=422)
    services.change_role(membership=membership, user=request.user, role=form.cleaned_data["role"])
    messages.success(request, f"{membership.user} is now {form.cleaned_data['role']}.")
    return redirect("accounts:team", request.workspace.slug)


@require_POST
@member("admin")
def remove(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Take a member out of the workspace."""
    membership = get_object_or_404(request.workspace.memberships.select_related("user"), code=code)
    services.remove_member(membership=membership, user=request.user)
    mail.removed_letter(request.workspace, membership.user)
    messages.success(request, f"{membership.user} is no longer a member.")
    if membership.user == request.user:
        return redirect("pages:dashboard")
    return redirect("accounts:team", request.workspace.slug)


@require_POST
@member("viewer")
def leave(request: WorkspaceRequest) -> HttpResponse:
    """Leave the workspace."""
    services.remove_member(membership=request.membership, user=request.user)
    messages.success(request, f"You have left {request.workspace}.")
    return redirect("pages:dashboard")


def _settings_page(
    request: WorkspaceRequest,
    *,
    form: WorkspaceSettingsForm | None = None,
    transfer_form: TransferForm | None = None,
    delete_form: DeleteWorkspaceForm | None = None,
    erase_form: EraseWorkspaceForm | None = None,
    status: int = 200,
) -> HttpResponse:
    # A bound ModelForm writes what was typed into its instance; the frame of the page must keep the real name.
    workspace = Workspace.objects.get(pk=request.workspace.pk)
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "is_owner": request.membership.may("owner"),
        "may_manage": request.membership.may("admin"),
        "form": form or WorkspaceSettingsForm(instance=workspace),
    }
    if context["is_owner"]:
        context["transfer_form"] = transfer_form or TransferForm(workspace=workspace)
        context["has_others"] = workspace.memberships.exclude(role=Role.OWNER).exists()
        context["delete_form"] = delete_form or DeleteWorkspaceForm(workspace=workspace)
        context["erase_form"] = erase_form or EraseWorkspaceForm(workspace=workspace)
    return render(request, "accounts/workspace_settings.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@member("viewer")
def workspace_settings(request: WorkspaceRequest) -> HttpResponse:
    """Name and address, which admins change; for the owner also handing over and deleting."""
    if request.method != "POST":
        return _settings_page(request)
    if not request.membership.may("admin"):
        raise PermissionDenied
    form = WorkspaceSettingsForm(request.POST, instance=Workspace.objects.get(pk=request.workspace.pk))
    if not form.is_valid():
        return _settings_page(request, form=form, status=422)
    workspace = services.rename(
        workspace=request.workspace,
        user=request.user,
        name=form.cleaned_data["name"],
        slug=form.cleaned_data["slug"],
    )
    messages.success(request, "Saved.")
    return redirect("accounts:settings", workspace.slug)


@require_POST
@member("owner")
def transfer(request: WorkspaceRequest) -> HttpResponse:
    """Hand the workspace over to another member."""
    form = TransferForm(request.POST, workspace=request.workspace)
    if not form.is_valid():
        return _settings_page(request, transfer_form=form, status=422)
    to: Membership = form.cleaned_data["member"]
    services.transfer(workspace=request.workspace, owner=request.user, to=to)
    mail.new_owner_letter(request.workspace, to.user, by=request.user)
    messages.success(request, f"{to.user} owns this workspace now.")
    return redirect("accounts:team", request.workspace.slug)


@require_POST
@member("owner")
def delete(request: WorkspaceRequest) -> HttpResponse:
    """Delete the workspace; it can be restored from one's own settings until the grace period ends."""
    form = DeleteWorkspaceForm(request.POST, workspace=request.workspace)
    if not form.is_valid():
        return _settings_page(request, delete_form=form, status=422)
    services.delete_workspace(workspace=request.workspace, user=request.user)
    request.workspace.refresh_from_db()
    mail.deleted_letter(request.workspace, request.user)
    messages.success(request, f"{request.workspace} is deleted. You can restore it here for a while.")
    return redirect("pages:settings")


@require_POST
@member("owner")
def erase(request: WorkspaceRequest) -> HttpResponse:
    """Remove the workspace now, without the grace period."""
    form = EraseWorkspaceForm(request.POST, workspace=request.workspace)
    if not form.is_valid():
        return _settings_page(request, erase_form=form, status=422)
    services.erase_workspace(workspace=request.workspace, user=request.user)
    messages.success(request, f"{request.workspace} is being erased. You get a letter when everything is gone.")
    return redirect("pages:settings")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def erase_account(request: HttpRequest) -> HttpResponse:
    """Delete one's own account, after saying what goes with it."""
    assert request.user.is_authenticated
    form = EraseAccountForm(request.POST or None, user=request.user)
    if request.method == "POST" and form.is_valid():
        try:
            services.erase_account(user=request.user)
        except Refused as refused:
            form.add_error(None, refused.message)
        else:
            logout(request)
            messages.success(request, "Your account is deleted. What was yours alone is being erased.")
            return redirect("pages:home")
    owned = Workspace.objects.filter(memberships__user=request.user, memberships__role=Role.OWNER)
    context = {"form": form, "owned": owned}
    return render(request, "accounts/erase_account.html", context, status=422 if form.is_bound else 200)


@require_POST
@login_required
def restore(request: HttpRequest, code: uuid.UUID) -> HttpResponse:
    """Open one's own deleted workspace again."""
    owned = Workspace.objects.filter(memberships__user=request.user, memberships__role=Role.OWNER)  # type: ignore[misc]
    workspace = get_object_or_404(owned.exclude(deleted_at=None), code=code)
    membership = workspace.memberships.select_related("user").get(role=Role.OWNER)
    workspace = services.restore_workspace(workspace=workspace, user=membership.user)
    messages.success(request, f"{workspace} is back.")
    return redirect("pages:workspace", workspace.slug)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Make another workspace."""
    assert request.user.is_authenticated
    form = WorkspaceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        workspace = services.create_workspace(user=request.user, name=form.cleaned_data["name"])
        return redirect("pages:workspace", workspace.slug)
    return render(request, "accounts/new.html", {"form": form}, status=422 if form.is_bound else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """The page of an invitation's link: says who invites whom to what, and accepts for whom it was sent to."""
    found = services.open_invitation(token)
    user = request.user
    if request.method == "POST":
        if not user.is_authenticated:
            raise Http404
        membership = services.accept(token=token, user=user)
        messages.success(request, f"Welcome to {membership.workspace}.")
        return redirect("pages:workspace", membership.workspace.slug)
    if user.is_authenticated and membership_of(user, found.workspace.slug):
        return redirect("pages:workspace", found.workspace.slug)
    context = {
        "invitation": found,
        "is_yours": user.is_authenticated and services.is_addressed_to(found, user),
        "here": request.path,
    }
    return render(request, "accounts/invitation.html", context)
