from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "apps.jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Say which files of jobs are stored."""
        from apps.billing.services import holdings
        from apps.jobs.models import Artifact, Job

        holdings.register(
            holdings.Kind("made files", Artifact.objects.filter(expired_at=None), "workspace", "size"),
            holdings.Kind("work folders of jobs", Job.objects.exclude(checkpoint=""), "workspace", None),
        )
