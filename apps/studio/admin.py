from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from apps.accounts.staff import StaffAdmin
from apps.studio.models import Batch, Conversion, ConversionPreset, Source


class ReadOnly(StaffAdmin):
    """Rows that staff look at, but that only the site itself writes and deletes, with their files."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Say no: files come in through the site."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        """Say no: what was made stays as it was made."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        """Say no: files would stay behind."""
        return False


@admin.register(Source)
class SourceAdmin(ReadOnly):
    list_display = ("name", "workspace", "duration", "codec", "size", "created_by", "created_at")
    list_filter = ("codec", "created_at")
    list_select_related = ("workspace", "created_by")
    search_fields = ("name", "code", "sha256", "workspace__name", "workspace__slug")
    date_hierarchy = "created_at"


@admin.register(Batch)
class BatchAdmin(ReadOnly):
    list_display = ("name", "workspace", "created_by", "created_at")
    list_filter = ("created_at",)
    list_select_related = ("workspace", "created_by")
    search_fields = ("name", "code", "workspace__name", "workspace__slug")
    date_hierarchy = "created_at"


@admin.register(Conversion)
class ConversionAdmin(ReadOnly):
    list_display = ("__str__", "workspace", "status", "preset", "compute_seconds", "created_by", "created_at")
    list_filter = ("job__status", "created_at")
    list_select_related = ("workspace", "voice", "source", "job", "created_by")
    search_fields = ("code", "voice__name", "source__name", "workspace__name", "workspace__slug", "job__error_id")
    date_hierarchy = "created_at"

    @admin.display(ordering="job__status")
    def status(self, conversion: Conversion) -> str:
        """Show where its job stands."""
        return conversion.job.get_status_display()

    @admin.display
    def preset(self, conversion: Conversion) -> str:
        """Show the engine's preset that it was made with."""
        return str(conversion.options.get("preset", ""))


@admin.register(ConversionPreset)
class ConversionPresetAdmin(ReadOnly):
    list_display = ("name", "workspace", "voice", "created_by", "created_at")
    list_select_related = ("workspace", "voice", "created_by")
    search_fields = ("name", "workspace__name", "voice__name")
