"""The only door into a workspace: URL -> ``request.workspace`` and ``request.membership``, or 404 / 403."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django_htmx.middleware import HtmxDetails

from apps import logs
from apps.accounts.models import Membership, User, Workspace

P = ParamSpec("P")
LAST_WORKSPACE = "workspace"  # the session remembers where its user was last


class WorkspaceRequest(HttpRequest):
    """A request that came through the door: its user is a member of its workspace."""

    htmx: HtmxDetails
    user: User
    workspace: Workspace
    membership: Membership


def membership_of(user: Any, slug: str) -> Membership | None:
    """Return the user's membership of the living workspace at ``slug``, or None for a stranger."""
    if not user.is_authenticated:
        return None
    rows = Membership.objects.select_related("workspace")
    return rows.filter(user=user, workspace__slug=slug, workspace__deleted_at=None).first()


View = Callable[Concatenate[WorkspaceRequest, P], HttpResponseBase]


def member(role: str) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Let a member with at least ``role`` through: nobody is sent to log in, a stranger gets 404, a lesser one 403."""

    def decorate(view: View[P]) -> Callable[..., HttpResponseBase]:
        @login_required
        @wraps(view)
        def through_the_door(request: Any, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            membership = membership_of(request.user, slug)
            if membership is None:
                raise Http404
            if not membership.may(role):
                raise PermissionDenied
            request.workspace, request.membership = membership.workspace, membership
            logs.workspace.set(membership.workspace.slug)
            if request.session.get(LAST_WORKSPACE) != slug:
                request.session[LAST_WORKSPACE] = slug
            return view(request, *args, **kwargs)

        through_the_door.required_role = role  # type: ignore[attr-defined]  # the tenancy test reads it
        return through_the_door

    return decorate
