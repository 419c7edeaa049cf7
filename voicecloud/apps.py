from __future__ import annotations

from django.apps import AppConfig


class VoicecloudConfig(AppConfig):
    name = "voicecloud"

    def ready(self) -> None:
        from voicecloud import checks  # noqa: F401  # registers them
