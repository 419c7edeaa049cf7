from __future__ import annotations

from django.apps import AppConfig


class VoicecloudConfig(AppConfig):
    name = "voicecloud"
