from __future__ import annotations

from django.apps import AppConfig


class VoicesConfig(AppConfig):
    name = "apps.voices"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Say which files of a voice are stored."""
        from apps.billing.services import holdings
        from apps.voices.models import Consent, Recording, Take, Upload, Voice, VoiceModel

        holdings.count_by("voices", lambda workspace: Voice.objects.filter(workspace=workspace).count())
        holdings.register(
            holdings.Kind("recordings", Recording.objects.all(), "voice__workspace", "size"),
            holdings.Kind("takes", Take.objects.all(), "recording__voice__workspace", None),
            holdings.Kind("spoken consents", Consent.objects.exclude(recording=""), "voice__workspace", None),
            holdings.Kind("voice models", VoiceModel.objects.exclude(file=""), "voice__workspace", "size"),
            holdings.Kind("uploads under way", Upload.objects.all(), "voice__workspace", "offset", counts="size"),
        )
