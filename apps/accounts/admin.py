"""Accounts for staff. The audit log can be read here and not be changed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest

from apps.accounts import keys
from apps.accounts.models import ApiKey, AuditEvent, ErasureReport, Invitation, Membership, User, Workspace
from apps.accounts.staff import Admin, StaffAdmin

admin.site.unregister(Group)  # rights come from memberships; groups would be a second way


class NewPersonForm(AdminUserCreationForm):  # type: ignore[type-arg]  # not generic at run time
    """A new person has an address and no user name."""

    class Meta:
        model = User
        fields = ("email",)


@admin.register(User)
class PersonAdmin(UserAdmin):  # type: ignore[type-arg]  # not generic at run time
    """People, by e-mail address."""

    add_form = NewPersonForm
    ordering = ("-date_joined",)
    list_display = ("email", "name", "is_active", "is_staff", "date_joined", "last_login")
    list_filter = ("is_active", "is_staff", "date_joined")
    search_fields = ("email", "name")
    readonly_fields = ("date_joined", "last_login")
    fieldsets = (
        (None, {"fields": ("email", "name", "password")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Dates", {"fields": ("date_joined", "last_login")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)
    filter_horizontal = ()


class MembershipInline(admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    """The members of a workspace, on its page."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user",)
    readonly_fields = ("created_at",)


@admin.register(Workspace)
class WorkspaceAdmin(StaffAdmin):
    """Tenants: who is in them and whether they are being deleted."""

    list_display = ("name", "slug", "owner", "member_count", "personal", "created_at", "deleted_at")
    list_filter = ("personal", ("deleted_at", admin.EmptyFieldListFilter), "created_at")
    search_fields = ("name", "slug", "code", "memberships__user__email")
    readonly_fields = ("code", "created_at", "seats", "voice_limit", "storage_limit")  # its plan writes these
    inlines = (MembershipInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        """Count the members once for the whole list."""
        rows: QuerySet[Workspace] = super().get_queryset(request).prefetch_related("memberships__user")
        return rows.annotate(member_count=Count("memberships", distinct=True))

    @admin.display(description="owner")
    def owner(self, workspace: Workspace) -> str:
        """Return the owner's address."""
        return next((str(m.user.email) for m in workspace.memberships.all() if m.role == "owner"), "-")

    @admin.display(description="members", ordering="member_count")
    def member_count(self, workspace: Any) -> int:
        """Return how many people are in it."""
        return int(workspace.member_count)


@admin.register(Membership)
class MembershipAdmin(StaffAdmin):
    """Who is in which workspace as what."""

    list_display = ("user", "workspace", "role", "created_at")
    list_filter = ("role", "created_at")
    list_select_related = ("user", "workspace")
    search_fields = ("user__email", "workspace__name", "workspace__slug")
    autocomplete_fields = ("user", "workspace")
    readonly_fields = ("code", "created_at")


@admin.register(Invitation)
class InvitationAdmin(StaffAdmin):
    """Invitations; their links cannot be learned here, only their hashes are kept."""

    list_display = ("email", "workspace", "role", "invited_by", "created_at", "expires_at", "accepted_at")
    list_filter = ("role", ("accepted_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("workspace", "invited_by")
    search_fields = ("email", "workspace__name", "workspace__slug")
    readonly_fields = ("code", "workspace", "email", "role", "invited_by", "created_at", "accepted_at")
    exclude = ("token_hash",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Invitations are sent from the team page, where the letter goes out."""
        return False


@admin.register(ApiKey)
class ApiKeyAdmin(StaffAdmin):
    """Keys of programs; what a program sends cannot be learned here. One that leaked can be revoked."""

    list_display = ("name", "start", "workspace", "user", "scope", "created_at", "last_used_at", "revoked_at")
    list_filter = ("scope", ("revoked_at", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("workspace", "user")
    search_fields = ("code", "name", "start", "user__email", "workspace__name", "workspace__slug")
    exclude = ("key_hash", "old_key_hash")
    readonly_fields = tuple(field.name for field in ApiKey._meta.fields if not field.name.endswith("key_hash"))
    date_hierarchy = "created_at"
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Members make their keys, so that nobody else has seen one."""
        return False

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, rows: QuerySet[ApiKey]) -> None:
        """Close the chosen keys for good, at once."""
        closed = [key for key in rows.select_related("workspace") if keys.revoke(key=key, user=None)]
        for key in closed:
            self.act(request, key, "revoked")
        self.message_user(request, f"{len(closed)} revoked.", messages.SUCCESS if closed else messages.WARNING)


class Lines(Admin):
    """Lines of a log, read only."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Lines are written by what happens."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Lines are never changed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Lines are never deleted, but with their whole workspace."""
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(Lines):
    """The audit log of all workspaces; what staff did there begins with ``staff.``."""

    list_display = ("created_at", "workspace", "user", "action", "target")
    list_filter = ("action", "created_at")
    list_select_related = ("workspace", "user")
    search_fields = ("action", "target", "user__email", "workspace__name", "workspace__slug")
    date_hierarchy = "created_at"


@admin.register(LogEntry)
class LogEntryAdmin(Lines):
    """All that staff did in the admin, to whatever."""

    list_display = ("action_time", "user", "content_type", "object_repr", "action_flag", "change_message")
    list_filter = ("action_flag", "content_type", "action_time")
    list_select_related = ("user", "content_type")
    search_fields = ("object_repr", "change_message", "user__email")
    date_hierarchy = "action_time"


@admin.register(ErasureReport)
class ErasureReportAdmin(Lines):
    """What was removed of workspaces that are gone, and how far removals have come."""

    list_display = ("workspace_code", "asked_at", "at_once", "finished_at", "files", "bytes", "verified", "told_at")
    list_filter = (("finished_at", admin.EmptyFieldListFilter), "verified", "at_once", "asked_at")
    search_fields = ("code", "workspace_code")
    date_hierarchy = "asked_at"
