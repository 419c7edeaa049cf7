"""What staff do in the admin, written down twice: in Django's own log of the admin, which has all of it, and, when it
was done to something of a workspace, in that workspace's audit log as ``staff.<what>``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import FileField, Model, QuerySet
from django.http import HttpRequest

from apps.accounts import services
from apps.accounts.models import User, Workspace

if TYPE_CHECKING:  # the stubs know it as generic, Django itself does not
    Admin = admin.ModelAdmin[Any]
else:
    Admin = admin.ModelAdmin
# How a row leads to its workspace, the nearest way first.
_WAYS = ("workspace", "voice", "recording", "job", "endpoint")


def workspace_of(row: Any) -> Workspace | None:
    """Return the workspace that owns the row; None for people and what belongs to no workspace."""
    if isinstance(row, Workspace):
        return row
    nearer = next((found for way in _WAYS if (found := getattr(row, way, None)) is not None), None)
    return None if nearer is None else workspace_of(nearer)


@cache
def _stored_name(field: str) -> Callable[[Any], str]:
    """Return a column that shows where a file is stored, as text: a link would hand it out, past who may have it."""

    @admin.display(description=field)
    def stored_name(row: Any) -> str:
        return str(getattr(row, field).name or "-")

    return stored_name


class StaffAdmin(Admin):
    """The admin of a model, whose changes are all written down, and whose files it does not hand out."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Show files by their stored names."""
        files, others = self._files(), super().get_readonly_fields(request, obj)
        return [field for field in others if field not in files] + [_stored_name(name) for name in files]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Leave the file fields themselves out: they would be links, or inputs."""
        files = self._files()
        return [field for field in super().get_fields(request, obj) if field not in files]

    def _files(self) -> list[str]:
        return [field.name for field in self.model._meta.fields if isinstance(field, FileField)]

    def record(self, request: HttpRequest, row: Model, what: str, **data: Any) -> None:
        """Write one line of the workspace's audit log: ``what`` as one word, ``data`` as JSON values."""
        workspace = workspace_of(row)
        if workspace is None or workspace.pk is None:
            return
        user = request.user if isinstance(request.user, User) else None
        code = {"code": str(row.code)} if hasattr(row, "code") else {}
        target = f"{row._meta.verbose_name} {row}"
        services.audit(workspace=workspace, user=user, action=f"staff.{what}", target=target, data=code | data)

    def act(self, request: HttpRequest, row: Model, what: str, **data: Any) -> None:
        """Write down an action of the admin that is no form: in both logs."""
        super().log_change(request, row, what)
        self.record(request, row, what, **data)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        """Write down what was added."""
        self.record(request, obj, "added")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        """Write down what was changed: the names of the fields, not what stood in them."""
        self.record(request, obj, "changed", changes=message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Write down what is deleted; of a workspace itself in the log of the admin alone, as its own goes too."""
        for row in queryset:
            if not isinstance(row, Workspace):
                self.record(request, row, "deleted")
        return super().log_deletions(request, queryset)
