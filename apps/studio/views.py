"""Convert something, hear it beside its source, do it again with one thing changed."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.billing import costs
from apps.errors import Refused
from apps.jobs.downloads import serve
from apps.studio import retention, services
from apps.studio.forms import ConversionForm, CostForm, PresetForm, initial_of
from apps.studio.models import Conversion, Source
from apps.studio.options import defaults
from apps.studio.pages import comparison_of, facts_of, measures_of, pitch_plot, preset_cards

CONVERSIONS_ON_A_PAGE = 12
METER = "convert_seconds"


@require_http_methods(["GET", "HEAD", "POST"])
@member("viewer")
def convert(request: WorkspaceRequest) -> HttpResponseBase:
    """Show the form with the workspace's conversions below; take it in. ``?voice=`` and ``?preset=`` fill it in."""
    if request.method == "POST":
        if not request.membership.may("editor"):
            raise PermissionDenied
        return _submit(request)
    initial = initial_of(defaults())
    chosen = request.GET.get("preset", "")
    for preset in request.workspace.conversion_presets.select_related("voice"):
        if str(preset.code) == chosen:
            initial |= initial_of(preset.options)
            initial |= {"voice": preset.voice.code} if preset.voice else {}
    if request.GET.get("voice"):
        initial["voice"] = request.GET["voice"]
    return _page(request, ConversionForm(request.workspace, initial=initial), chosen=chosen)


@require_safe
@member("editor")
def cost(request: WorkspaceRequest) -> HttpResponseBase:
    """Say what a conversion of ``?source=`` or of a sound of ``?seconds=`` takes, and what is left: a fragment."""
    amount = None
    form = CostForm(request.workspace, request.GET)
    if form.is_valid():
        source, seconds = form.cleaned_data["source"], form.cleaned_data["seconds"]
        if source is not None:
            amount = services.cost_of(source)
        elif seconds is not None:
            amount = services.seconds_begun(seconds)
    return render(request, "billing/_cost.html", {"cost": costs.cost(request.workspace, METER, amount)})


@require_safe
@member("editor")
def again(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Show the form filled in as an earlier conversion, to change one thing and compare."""
    parent = get_object_or_404(_conversions(request), code=code)
    if not parent.source.is_stored:
        raise Refused(retention.SOURCE_GONE, status=410)
    initial = initial_of(parent.options) | {
        "parent": parent.code,
        "voice": parent.voice.code,
        "source": parent.source.code,
        "seed": parent.seed,
    }
    return _page(request, ConversionForm(request.workspace, initial=initial), parent=parent)


def _submit(request: WorkspaceRequest) -> HttpResponseBase:
    form = ConversionForm(request.workspace, request.POST, request.FILES)
    if not form.is_valid():
        return _form_again(request, form, 422)
    chosen = form.cleaned_data
    try:
        source = chosen["source"]
        if source is None:
            source = services.add_source(workspace=request.workspace, user=request.user, upload=chosen["upload"])
    except Refused as refused:
        if refused.status == 402:
            return _form_again(request, form, 402, refused)
        form.add_error("upload", refused.message)
        return _form_again(request, form, refused.status)
    try:
        conversion = services.submit_conversion(
            workspace=request.workspace,
            user=request.user,
            voice=chosen["voice"],
            source=source,
            options=form.options,
            seed=chosen["seed"],
            parent=chosen["parent"],
        )
    except Refused as refused:
        if refused.status == 402:
            return _form_again(request, form, 402, refused, source)
        form.add_error("source" if refused.status == 410 else "voice", refused.message)
        return _form_again(request, form, refused.status)
    address = reverse("studio:conversion", args=[request.workspace.slug, conversion.code])
    return redirect(address)


def _form_again(
    request: WorkspaceRequest,
    form: ConversionForm,
    status: int,
    refused: Refused | None = None,
    source: Source | None = None,
) -> HttpResponseBase:
    parent = form.cleaned_data.get("parent")
    if request.htmx:
        context = {"workspace": request.workspace, "parent": parent, "refused": refused, **_of_form(form, source)}
        return render(request, "studio/_convert_form.html", context, status=status)
    return _page(request, form, parent=parent, status=status, refused=refused)


def _of_form(form: ConversionForm, source: Source | None = None) -> dict[str, Any]:
    """Return the form with what is shown beside its fields."""
    chosen = source or form.chosen_source()
    amount = services.cost_of(chosen) if chosen else None
    return {"form": form, "cards": preset_cards(form), "cost": costs.cost(form.workspace, METER, amount)}


def _page(
    request: WorkspaceRequest,
    form: ConversionForm,
    *,
    parent: Conversion | None = None,
    chosen: str = "",
    status: int = 200,
    refused: Refused | None = None,
) -> HttpResponseBase:
    workspace = request.workspace
    # The curves are long, and a list draws none of them.
    rows = _conversions(request).prefetch_related("job__artifacts").defer("curves", "metrics")
    expiring = request.GET.get("expiring") == "1"
    if expiring:
        rows = rows.filter(job__in=retention.going(timezone.now()).values("job"))
    page = Paginator(rows, CONVERSIONS_ON_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "workspace": workspace,
        **_of_form(form),
        "parent": parent,
        "refused": refused,
        "page": page,
        "expiring": expiring,
        "waiting": any(not one.job.is_finished for one in page.object_list),
        "has_voices": bool(form.voice_choices),
        "may_edit": request.membership.may("editor"),
        "presets": workspace.conversion_presets.select_related("voice"),
        "chosen": chosen,
    }
    return render(request, "studio/convert.html", context, status=status)


@require_safe
@member("viewer")
def conversion(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Show one conversion: its progress, then source and result to compare, what was measured, what was chosen."""
    row = get_object_or_404(_conversions(request), code=code)
    result = row.result if row.job.status == "done" else None
    expired = row.expired_result if result is None else None
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "conversion": row,
        "result": result,
        "expired": expired,
        "facts": facts_of(row, result or expired),
        "may_edit": request.membership.may("editor"),
    }
    if result is not None or expired is not None:
        context |= {
            "measures": measures_of(row),
            "plot": pitch_plot(row),
            "before": comparison_of(row) if result else None,
            "preset_form": PresetForm(request.workspace, initial={"conversion": row.code}),
            "last_of_source": not row.source.conversions.exclude(pk=row.pk).exists(),
        }
    return render(request, "studio/conversion.html", context)


@require_safe
@member("viewer")
def source_audio(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Answer a conversion's source, to be played, or with ``?save=1`` to be saved as it was received."""
    row = get_object_or_404(_conversions(request), code=code)
    source, saved = row.source, request.GET.get("save") == "1"
    if not source.is_stored:
        raise Refused("This source has expired, so it can be heard no more. Send the file again.", status=410)
    preview = row.preview if not saved and not source.plays_in_browsers else None
    if preview is not None:
        return serve(request, preview.file, content_type=preview.content_type, name=preview.name, attachment=False)
    return serve(request, source.file, content_type=source.content_type, name=source.name, attachment=saved)


@require_POST
@member("editor")
def delete(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Delete a conversion with its files."""
    row = get_object_or_404(_conversions(request), code=code)
    services.delete_conversion(conversion=row, user=request.user)
    messages.success(request, "The conversion is deleted.")
    address = reverse("studio:convert", args=[request.workspace.slug])
    return redirect(address)


@require_POST
@member("editor")
def keep(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Keep a conversion's files for ever, or with ``keep=no`` let them expire again."""
    row = get_object_or_404(_conversions(request), code=code)
    if request.POST.get("keep") == "no":
        retention.let_expire(conversion=row, user=request.user)
        messages.success(request, "This conversion expires again.")
    else:
        retention.keep(conversion=row, user=request.user)
        messages.success(request, "This conversion is kept.")
    return redirect("studio:conversion", request.workspace.slug, row.code)


@require_POST
@member("editor")
def preset_save(request: WorkspaceRequest) -> HttpResponseBase:
    """Keep the options of the conversion that ``conversion`` names as a preset."""
    form = PresetForm(request.workspace, request.POST)
    if not form.is_valid():
        context = {"workspace": request.workspace, "preset_form": form}
        return render(request, "studio/_preset_form.html", context, status=422)
    row = form.cleaned_data["conversion"]
    preset = services.save_preset(
        workspace=request.workspace,
        user=request.user,
        name=form.cleaned_data["name"],
        options=row.options,
        voice=row.voice if form.cleaned_data["for_voice"] else None,
    )
    messages.success(request, f"The preset “{preset.name}” is saved for everyone in the workspace.")
    address = f"{reverse('studio:convert', args=[request.workspace.slug])}?preset={preset.code}"
    return redirect(address)


@require_POST
@member("editor")
def preset_delete(request: WorkspaceRequest, code: uuid.UUID) -> HttpResponseBase:
    """Delete a preset; conversions made with it keep their own options."""
    preset = get_object_or_404(request.workspace.conversion_presets, code=code)
    preset.delete()
    messages.success(request, f"The preset “{preset.name}” is deleted.")
    address = reverse("studio:convert", args=[request.workspace.slug])
    return redirect(address)


def _conversions(request: WorkspaceRequest) -> Any:
    return request.workspace.conversions.select_related("voice", "model", "source", "job", "created_by", "workspace")
