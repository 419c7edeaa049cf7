"""Jobs and their files for staff: why one failed, run it again, end it."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.jobs import services
from apps.jobs.models import Artifact, Job, Share, Status


class ArtifactInline(admin.TabularInline):  # type: ignore[type-arg]  # no subscript at run time
    model = Artifact
    fields = readonly_fields = ("name", "kind", "content_type", "size", "created_at", "expires_at")
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Only jobs make artifacts."""
        return False


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no subscript at run time
    """A job is read here, not written: its moves are the two actions."""

    list_display = ("title", "kind", "status", "workspace", "queue", "attempt", "message", "error_id", "created_at")
    list_filter = ("status", "kind", "queue", "created_at")
    search_fields = ("code", "title", "error_id", "workspace__name", "workspace__slug", "created_by__email")
    list_select_related = ("workspace",)
    date_hierarchy = "created_at"
    inlines = (ArtifactInline,)
    actions = ("run_again", "end_now")
    readonly_fields = tuple(field.name for field in Job._meta.fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only services make jobs."""
        return False

    @admin.action(description="Run again (failed or cancelled jobs)", permissions=["change"])
    def run_again(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """Queue the chosen jobs once more; those in another state are left as they are."""
        again = sum(services.requeue(job) for job in jobs.select_related("workspace"))
        self._tell(request, again, len(jobs), "queued again")

    @admin.action(description="End now (unfinished jobs)", permissions=["change"])
    def end_now(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """End the chosen jobs as failed; a worker that runs one notices and stops."""
        ended = sum(
            services.end(job.pk, status=Status.FAILED, message="It was ended by the staff of this site.")
            for job in jobs
        )
        self._tell(request, ended, len(jobs), "ended")

    def _tell(self, request: HttpRequest, count: int, chosen: int, what: str) -> None:
        level = messages.SUCCESS if count else messages.WARNING
        self.message_user(request, f"{count} of {chosen} {what}.", level)


@admin.register(Artifact)
class ArtifactAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no subscript at run time
    list_display = ("name", "kind", "workspace", "job", "size", "created_at", "expires_at")
    list_filter = ("kind", "created_at")
    search_fields = ("code", "name", "sha256", "workspace__slug", "job__code")
    list_select_related = ("workspace", "job")
    readonly_fields = tuple(field.name for field in Artifact._meta.fields if field.name != "expires_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only jobs make artifacts."""
        return False


@admin.register(Share)
class ShareAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # no subscript at run time
    """What each workspace has had of a queue: who has the lower finish has the next turn."""

    list_display = ("workspace", "queue", "start", "finish")
    list_filter = ("queue",)
    search_fields = ("workspace__name", "workspace__slug")
    list_select_related = ("workspace",)
    ordering = ("queue", "finish")
    readonly_fields = ("workspace", "queue", "start", "finish")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Turns are written by those who take them."""
        return False
