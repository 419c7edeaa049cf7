"""API keys of a workspace: each member makes, rotates and revokes their own; admins see and revoke all of them.

A key's secret is on the one page that answers the form that made it, and nowhere else: no message, session or cache
has it, and sending the form again shows nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts import keys
from apps.accounts.access import WorkspaceRequest, member
from apps.accounts.models import ApiKey, Role, Scope
from apps.api import throttle
from apps.api.key_forms import KeyForm, RotateForm
from apps.billing.amounts import shown
from apps.billing.plans import METERS
from apps.errors import Refused

ENDED_SHOWN = 50


@dataclass(frozen=True)
class Line:
    """A key as the list shows it."""

    key: ApiKey
    caps: list[str]  # in words
    is_lessened: bool  # its owner's role allows less than its scope
    is_own: bool


def _seen(request: WorkspaceRequest) -> QuerySet[ApiKey]:
    """Return the keys that the member may see."""
    found = request.workspace.api_keys.select_related("user", "workspace")
    return found if request.membership.may("admin") else found.filter(user=request.user)


def _own(request: WorkspaceRequest, code: uuid.UUID) -> ApiKey:
    # Not for admins: with another member's secret they could do things in that member's name.
    return get_object_or_404(_seen(request).filter(user=request.user), code=code)


def _lines(request: WorkspaceRequest, found: Iterable[ApiKey]) -> list[Line]:
    roles = dict(request.workspace.memberships.values_list("user_id", "role"))
    lines = []
    for key in found:
        caps = [f"{shown(meter, most)} of {METERS[meter].name}" for meter, most in key.caps.items() if meter in METERS]
        role = roles.get(key.user_id)
        lessened = role is not None and not Role(role).at_least(Scope(key.scope).role)
        lines.append(Line(key, caps, lessened, key.user_id == request.user.pk))
    return lines


@require_safe
@member("viewer")
def key_list(request: WorkspaceRequest) -> HttpResponse:
    """Show the member's keys, to admins everybody's; those that have ended last."""
    found = list(_seen(request).filter(revoked_at=None))
    revoked = _seen(request).exclude(revoked_at=None).order_by("-revoked_at")[:ENDED_SHOWN]
    ended = [key for key in found if key.has_expired] + list(revoked)
    context = {
        "workspace": request.workspace,
        "lines": _lines(request, [key for key in found if not key.has_expired]),
        "ended": _lines(request, ended),
        "sees_all": request.membership.may("admin"),
    }
    return render(request, "api/keys.html", context)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member("viewer")
def new(request: WorkspaceRequest) -> HttpResponse:
    """Make a key, and show it once."""
    form = KeyForm(request.POST if request.method == "POST" else None, membership=request.membership)
    if form.is_valid():
        sent = form.cleaned_data
        if request.workspace.api_keys.filter(code=sent["code"], user=request.user).exists():
            messages.warning(request, "This key was made already, and is shown only once. If you lost it, rotate it.")
            return redirect("api:keys", request.workspace.slug)
        try:
            key, token = keys.issue(
                membership=request.membership,
                name=sent["name"],
                scope=sent["scope"],
                caps=form.caps,
                expires_at=timezone.now() + sent["lives"] if sent["lives"] else None,
                code=sent["code"],
            )
        except Refused as refusal:
            form.add_error(None, refusal.message)
        else:
            return _made(request, key, token)
    context = {"workspace": request.workspace, "form": form}
    return render(request, "api/key_form.html", context, status=422 if form.is_bound else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@member("viewer")
def rotate(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Give one's own key a new secret, and show that once."""
    key = _own(request, code)
    if not key.is_usable:
        raise Refused("This key has ended; make a new one.", status=409)
    form = RotateForm(request.POST if request.method == "POST" else None, initial={"start": key.start})
    if form.is_valid():
        if form.cleaned_data["start"] != key.start:
            messages.warning(request, "This key has a new secret already, which is shown only once. Rotate it again.")
            return redirect("api:keys", request.workspace.slug)
        token = keys.rotate(key=key, user=request.user, overlap=form.cleaned_data["overlap"])
        key.refresh_from_db()
        return _made(request, key, token)
    context = {"workspace": request.workspace, "key": key, "form": form}
    return render(request, "api/key_rotate.html", context, status=422 if form.is_bound else 200)


def _made(request: WorkspaceRequest, key: ApiKey, token: str) -> HttpResponse:
    throttle.accepted(token)
    context = {"workspace": request.workspace, "key": key, "token": token}
    return render(request, "api/key_made.html", context, status=201)


@require_http_methods(["GET", "HEAD", "POST"])
@member("viewer")
def revoke(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponse:
    """Close a key for good: one's own, or as an admin anybody's; asked first."""
    key = get_object_or_404(_seen(request), code=code)
    if request.method != "POST":
        return render(request, "api/key_revoke.html", {"workspace": request.workspace, "key": key})
    if keys.revoke(key=key, user=request.user):
        messages.success(request, f"“{key.name}” opens nothing any more.")
    else:
        messages.warning(request, f"“{key.name}” was revoked already.")
    return redirect("api:keys", request.workspace.slug)
