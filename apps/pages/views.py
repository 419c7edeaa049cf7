"""The public page, a workspace's dashboard, and one's own settings."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from apps.accounts.access import LAST_WORKSPACE, WorkspaceRequest, member
from apps.accounts.forms import ProfileForm
from apps.accounts.models import ErasureReport, Membership, Role, Workspace
from apps.billing import offers, warnings
from apps.billing.plans import TOP_UPS
from apps.jobs.models import UNFINISHED, Job
from apps.pages.first_run import first_run, numbers_of
from apps.studio.models import Conversion

RECENT = 6


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """What this is, for somebody who has never seen it."""
    return render(request, "pages/home.html")


@require_safe
def pricing(request: HttpRequest) -> HttpResponse:
    """What each plan holds and costs."""
    context = {"cards": offers.cards(None), "top_ups": TOP_UPS.values()}
    return render(request, "pages/pricing.html", context)


@require_safe
@login_required
def dashboard(request: HttpRequest) -> HttpResponse:
    """Go to the workspace last used, else the personal one, else any, else to making one."""
    mine = Membership.objects.filter(user=request.user.pk, workspace__deleted_at=None)
    slugs = list(mine.order_by("-workspace__personal", "created_at").values_list("workspace__slug", flat=True))
    if not slugs:
        return redirect("accounts:new_workspace")
    last = request.session.get(LAST_WORKSPACE)
    return redirect("pages:workspace", last if last in slugs else slugs[0])


@require_safe
@member("viewer")
def workspace(request: WorkspaceRequest) -> HttpResponse:
    """What the workspace holds, what is being made now, what was made last, and what to do first."""
    place = request.workspace
    numbers = numbers_of(place)
    steps = first_run(place, numbers)
    conversions = Conversion.objects.filter(workspace=place).select_related("job", "voice", "source")
    context = {
        "workspace": place,
        "numbers": numbers,
        "steps": steps,
        "next_step": next((step for step in steps if not step.done), None),
        "jobs": Job.objects.filter(workspace=place, status__in=UNFINISHED).order_by("created_at")[:RECENT],
        "conversions": conversions[:RECENT],
        "standings": warnings.standings(place),
    }
    return render(request, "pages/workspace.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def settings(request: HttpRequest) -> HttpResponse:
    """One's name, the ways to log in, and one's workspaces, deleted ones too while they can be restored."""
    assert request.user.is_authenticated
    form = ProfileForm(request.POST or None, instance=request.user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Saved.")
        return redirect("pages:settings")
    mine = Membership.objects.filter(user=request.user).select_related("workspace")
    owned = Workspace.objects.filter(memberships__in=mine.filter(role=Role.OWNER))
    begun = Q(code__in=ErasureReport.objects.values("workspace_code"))
    closed = owned.exclude(deleted_at=None)
    deleted = [row for row in closed.exclude(begun) if row.removed_for_good_at > timezone.now()]
    living = mine.filter(workspace__deleted_at=None)
    context = {"form": form, "memberships": living, "deleted": deleted, "erasing": closed.filter(begun)}
    return render(request, "pages/settings.html", context, status=422 if form.is_bound else 200)
