"""Endpoints and deliveries for staff, to read: their workspaces change them. Secrets cannot be learned here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.accounts.staff import StaffAdmin
from apps.webhooks.models import Attempt, Delivery, Endpoint


class ReadOnly(StaffAdmin):
    """Rows that staff look at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only services make them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only services change them."""
        return False


@admin.register(Endpoint)
class EndpointAdmin(ReadOnly):
    list_display = ("url", "workspace", "enabled", "failing_since", "disabled_reason", "created_at")
    list_filter = ("enabled", ("failing_since", admin.EmptyFieldListFilter), "created_at")
    list_select_related = ("workspace",)
    search_fields = ("code", "url", "workspace__name", "workspace__slug")
    exclude = ("sealed_secret", "sealed_previous_secret")


class AttemptInline(admin.TabularInline):  # type: ignore[type-arg]  # no subscript at run time
    """What each attempt came to, on the page of its delivery."""

    model = Attempt
    extra = 0
    can_delete = False
    readonly_fields = tuple(field.name for field in Attempt._meta.fields)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly):
    list_display = ("event", "endpoint", "status", "attempts", "next_attempt_at", "created_at", "ended_at")
    list_filter = ("status", "event", "created_at")
    list_select_related = ("endpoint",)
    search_fields = ("code", "endpoint__url", "endpoint__workspace__slug")
    date_hierarchy = "created_at"
    inlines = (AttemptInline,)
