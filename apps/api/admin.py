"""Requests under an Idempotency-Key for staff, to read. Answers cannot be learned here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.accounts.staff import StaffAdmin
from apps.api.models import ApiCall


@admin.register(ApiCall)
class ApiCallAdmin(StaffAdmin):
    list_display = ("created_at", "workspace", "api_key", "method", "path", "state", "status_code")
    list_filter = ("state", "status_code", "created_at")
    list_select_related = ("workspace", "api_key")
    search_fields = ("code", "key", "path", "workspace__name", "workspace__slug")
    date_hierarchy = "created_at"
    exclude = ("sealed_body",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only requests make them."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only requests change them."""
        return False
