"""Voice models: trained or made at once, looked at, activated, deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.jobs.models import Artifact
from apps.voices.cards import card_of, metrics_of
from apps.voices.forms import TrainForm
from apps.voices.services import training
from apps.voices.views.lookup import model_of, page_of, voice_of
from ml.catalog import PRESETS


@dataclass(frozen=True)
class PresetCard:
    """A preset as a choice: its words, and how long it took here before (s), where that is known."""

    name: str
    label: str
    description: str
    seconds: float | None


@dataclass(frozen=True)
class Sample:
    """What a model sounded like at a checkpoint."""

    code: str
    step: int
    seconds: float
    peaks: list[float]

    @classmethod
    def of(cls, artifact: Artifact) -> Sample:
        """Return what the page shows of a kept sample."""
        step, seconds, peaks = (artifact.shown(key) for key in ("step", "seconds", "peaks"))
        return cls(str(artifact.code), step, seconds, peaks)

    @property
    def label(self) -> str:
        """What a screen reader calls it."""
        return f"Sample at step {self.step}"


def preset_cards() -> list[PresetCard]:
    """Return the presets, quickest first."""
    return [
        PresetCard(name, entry.label, entry.description, training.expected_seconds(name))
        for name, entry in PRESETS.items()
    ]


@require_http_methods(["GET", "HEAD", "POST"])
@member("editor")
def train(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Train a new model; the pre-flight is shown before."""
    row = voice_of(request, voice)
    form = TrainForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        training.train(voice=row, user=request.user, options=form.options)
        return redirect(page_of(row) + "#models")
    context: dict[str, Any] = {
        "workspace": request.workspace,
        "voice": row,
        "train_form": form,
        "presets": preset_cards(),
        "consent": row.consent,
    }
    if not request.htmx:
        context["report"] = training.preflight_of(row)
    template = "voices/_train_form.html" if request.htmx else "voices/train.html"
    return render(request, template, context, status=422 if form.errors else 200)


@require_POST
@member("editor")
def instant(request: WorkspaceRequest, voice: UUID) -> HttpResponse:
    """Make an instant voice."""
    row = voice_of(request, voice)
    training.make_instant(voice=row, user=request.user)
    return redirect(page_of(row) + "#models")


@require_safe
@member("viewer")
def detail(request: WorkspaceRequest, voice: UUID, model: UUID) -> HttpResponse:
    """A model's card, curve and samples: a page, or to htmx what is inside of it."""
    row = model_of(request, voice, model)
    row.job.workspace = request.workspace
    samples = [Sample.of(artifact) for artifact in row.job.artifacts.filter(kind=Artifact.Kind.SAMPLE)]
    samples.sort(key=lambda sample: sample.step)
    context = {
        "workspace": request.workspace,
        "voice": row.voice,
        "model": row,
        "samples": samples,
        "metrics": metrics_of(row),
        "card": card_of(row, row.takes.count()),
        "curve": loss_curve(row.curve),
    }
    return render(request, "voices/_model_body.html" if request.htmx else "voices/model.html", context)


def loss_curve(points: list[dict[str, float]]) -> dict[str, Any]:
    """Return what ``plot.js`` draws: the losses in training and on held-out takes over the steps."""
    steps = [point["step"] for point in points]
    return {
        "title": "Loss over the training",
        "description": "Lower is better. When only the training loss still falls, more steps no longer help.",
        "x": {"label": "Step", "unit": ""},
        "y": {"label": "Loss", "unit": "", "scale": "linear"},
        "series": [
            {"name": "In training", "x": steps, "y": [point["loss"] for point in points]},
            {"name": "On held-out takes", "x": steps, "y": [point["held_out"] for point in points]},
        ],
    }


@require_POST
@member("editor")
def activate(request: WorkspaceRequest, voice: UUID, model: UUID) -> HttpResponse:
    """Make a model the one that conversions use."""
    row = model_of(request, voice, model)
    training.activate(model=row, user=request.user)
    messages.success(request, f"Version {row.version} is now the one that conversions use.")
    return redirect(page_of(row.voice) + "#models")


@require_POST
@member("editor")
def delete(request: WorkspaceRequest, voice: UUID, model: UUID) -> HttpResponse:
    """Delete a model, its file and its samples."""
    row = model_of(request, voice, model)
    training.delete_model(model=row, user=request.user)
    messages.success(request, f"Version {row.version} is deleted.")
    return redirect(page_of(row.voice) + "#models")
