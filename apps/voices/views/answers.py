"""How uploads are refused: as plain text, which the page's script shows as it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from uuid import UUID

from django.http import HttpResponse

from apps.accounts.access import WorkspaceRequest
from apps.errors import Refused


def plain(sentence: str, status: int) -> HttpResponse:
    """Return a sentence as plain text."""
    return HttpResponse(sentence, status=status, content_type="text/plain; charset=utf-8")


def plainly(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer a refusal of the view as plain text."""

    @wraps(view)
    def answered(request: WorkspaceRequest, *args: UUID, **kwargs: UUID) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Refused as refused:
            return plain(refused.message, refused.status)

    return answered
