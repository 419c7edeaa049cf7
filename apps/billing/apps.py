from __future__ import annotations

from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "apps.billing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Say how what is held in this room and below is counted."""
        from apps.accounts.services import seats_taken
        from apps.billing.services import holdings

        holdings.count_by("seats", seats_taken)
        holdings.count_by(holdings.STORAGE, holdings.stored_bytes)
