"""Jobs and their files for staff: why one failed, run it again, end it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.accounts.staff import StaffAdmin
from apps.errors import Refused
from apps.jobs import services
from apps.jobs.models import Artifact, Fault, Job, Share, Status


class Why(admin.SimpleListFilter):
    """Whose fault it was that a job failed."""

    title = "why it failed"
    parameter_name = "why"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the two reasons."""
        return [("ours", "A fault of ours"), ("theirs", "What it was given, or its limits")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Return failed jobs of the chosen reason; a fault of ours has an id."""
        match self.value():
            case "ours":
                return queryset.filter(status=Status.FAILED).exclude(error_id="")
            case "theirs":
                return queryset.filter(status=Status.FAILED, error_id="")
        return queryset


class Printed:
    """Shows a fault's traceback as it was printed."""

    @admin.display(description="traceback")
    def printed(self, fault: Fault) -> SafeString:
        """Return it with its line breaks."""
        return format_html("<pre>{}</pre>", fault.traceback)


class FaultInline(Printed, admin.TabularInline):  # type: ignore[type-arg]  # no subscript at run time
    model = Fault
    fields = readonly_fields = ("created_at", "attempt", "name", "error_id", "printed")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        """Only jobs have faults."""
        return False


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
class JobAdmin(StaffAdmin):
    """A job is read here, not written: its moves are the two actions."""

    list_display = ("title", "kind", "status", "workspace", "queue", "attempt", "message", "error_id", "created_at")
    list_filter = ("status", Why, "kind", "queue", ("not_before", admin.EmptyFieldListFilter), "created_at")
    search_fields = (
        "code",
        "title",
        "error_id",
        "faults__error_id",
        "faults__name",
        "worker",
        "workspace__name",
        "workspace__slug",
        "created_by__email",
    )
    list_select_related = ("workspace",)
    date_hierarchy = "created_at"
    inlines = (FaultInline, ArtifactInline)
    actions = ("run_again", "end_now")
    readonly_fields = tuple(field.name for field in Job._meta.fields)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only services make jobs."""
        return False

    @admin.action(description="Run again (failed or cancelled jobs)", permissions=["change"])
    def run_again(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """Queue the chosen jobs once more; those in another state are left as they are."""
        chosen, again = list(jobs.select_related("workspace", "usage")), 0
        for job in chosen:
            try:
                if services.requeue(job):
                    self.act(request, job, "run_again", error_id=job.error_id)
                    again += 1
            except Refused as no:
                self.message_user(request, f"{job.title}: {no.message}", messages.WARNING)
        self._tell(request, again, len(chosen), "queued again")

    @admin.action(description="End now (unfinished jobs)", permissions=["change"])
    def end_now(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """End the chosen jobs as failed; a worker that runs one notices and stops."""
        message = "It was ended by the staff of this site."
        chosen = list(jobs.select_related("workspace"))
        ended = [job for job in chosen if services.end(job.pk, status=Status.FAILED, message=message)]
        for job in ended:
            self.act(request, job, "ended")
        self._tell(request, len(ended), len(chosen), "ended")

    def _tell(self, request: HttpRequest, count: int, chosen: int, what: str) -> None:
        level = messages.SUCCESS if count else messages.WARNING
        self.message_user(request, f"{count} of {chosen} {what}.", level)


@admin.register(Artifact)
class ArtifactAdmin(StaffAdmin):
    list_display = ("name", "kind", "workspace", "job", "size", "created_at", "expires_at")
    list_filter = ("kind", "created_at")
    search_fields = ("code", "name", "sha256", "workspace__slug", "job__code")
    list_select_related = ("workspace", "job")
    readonly_fields = tuple(field.name for field in Artifact._meta.fields if field.name != "expires_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only jobs make artifacts."""
        return False


@admin.register(Fault)
class FaultAdmin(Printed, StaffAdmin):
    """Faults of ours in jobs, newest first: what happens often?"""

    list_display = ("created_at", "name", "job", "attempt", "error_id")
    list_filter = ("name", "job__kind", "created_at")
    list_select_related = ("job",)
    search_fields = ("error_id", "name", "traceback", "job__code", "job__workspace__slug")
    fields = readonly_fields = ("created_at", "job", "attempt", "name", "error_id", "printed")
    date_hierarchy = "created_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Only jobs have faults."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Fault | None = None) -> bool:
        """What happened stays as it was written down."""
        return False


@admin.register(Share)
class ShareAdmin(StaffAdmin):
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
