from __future__ import annotations

from django.apps import AppConfig


class StudioConfig(AppConfig):
    name = "apps.studio"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Say which files of the studio are stored."""
        from apps.billing.services import holdings
        from apps.studio.models import Source

        holdings.register(holdings.Kind("sources", Source.objects.filter(expired_at=None), "workspace", "size"))
