"""Voices for staff: what there is, whose it is, under which consent. Nothing is changed here that a page can change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from apps.accounts.staff import StaffAdmin
from apps.voices.models import Consent, Recording, Take, Upload, Voice, VoiceModel


@admin.register(Voice)
class VoiceAdmin(StaffAdmin):
    """Voices by workspace."""

    list_display = ["name", "workspace", "created_by", "created_at"]
    list_filter = ["created_at"]
    list_select_related = ["workspace", "created_by"]
    search_fields = ["name", "code", "workspace__name", "workspace__slug"]
    readonly_fields = ["code", "workspace", "created_by", "created_at"]
    date_hierarchy = "created_at"


class Kept(StaffAdmin):
    """Rows that are a record or a worker's result: staff read them."""

    def has_add_permission(self, request: Any) -> bool:
        """Never: they come about on the site."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Never: what was said and measured stays as it was."""
        return False


@admin.register(Consent)
class ConsentAdmin(Kept):
    """Consents in their exact words."""

    list_display = ["full_name", "voice", "is_own_voice", "commercial", "given_at", "expires_at", "withdrawn_at"]
    list_filter = ["is_own_voice", "commercial", "singing", ("withdrawn_at", admin.EmptyFieldListFilter), "given_at"]
    list_select_related = ["voice"]
    search_fields = ["full_name", "code", "voice__name", "voice__workspace__slug"]
    date_hierarchy = "given_at"


@admin.register(Recording)
class RecordingAdmin(Kept):
    """Recordings with what their bytes are."""

    list_display = ["name", "voice", "container", "codec", "duration", "sample_rate", "size", "created_at"]
    list_filter = ["container", "codec", "created_at"]
    list_select_related = ["voice"]
    search_fields = ["name", "code", "sha256", "voice__name", "voice__workspace__slug"]
    date_hierarchy = "created_at"


@admin.register(Take)
class TakeAdmin(Kept):
    """Takes with their grades."""

    list_display = ["recording", "start", "end", "snr_db", "loudness_lufs", "usable", "dropped"]
    list_filter = ["usable", "dropped"]
    list_select_related = ["recording"]
    search_fields = ["code", "recording__name", "recording__voice__name"]
    exclude = ["peaks", "grade"]


@admin.register(Upload)
class UploadAdmin(Kept):
    """Uploads that are under way."""

    list_display = ["name", "voice", "user", "offset", "size", "touched_at"]
    list_select_related = ["voice", "user"]
    search_fields = ["name", "code", "user__email"]


@admin.register(VoiceModel)
class VoiceModelAdmin(Kept):
    """Trained versions with their figures."""

    list_display = ["voice", "version", "kind", "engine", "preset", "steps", "training_seconds", "active", "created_at"]
    list_filter = ["kind", "engine", "preset", "active", "created_at"]
    list_select_related = ["voice"]
    search_fields = ["code", "sha256", "voice__name", "voice__workspace__slug"]
    exclude = ["takes"]
    date_hierarchy = "created_at"
