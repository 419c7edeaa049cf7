"""Voice models: trained or made at once, looked at, activated, deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.accounts.access import WorkspaceRequest, member
from apps.billing.costs import Cost, cost
from apps.jobs.models import Artifact
from apps.voices.cards import card_of, metrics_of, resources_of
from apps.voices.estimates import Estimate, expected
from apps.voices.forms import TrainForm
from apps.voices.models import Voice
from apps.voices.services import locks, training
from apps.voices.views.lookup import model_of, page_of, voice_of
from ml.catalog import PRESETS


@dataclass(frozen=True)
class PresetCard:
    """A preset as a choice: its words, and how long it will take by what it took here before, where that is known."""

    name: str
    label: str
    description: str
    time: Estimate | None
    minutes: int  # of the allowance, at most


# Name -> title, axis, unit, factor, and which samples are its lines.
_PLOTS: dict[str, tuple[str, str, str, float, dict[str, str]]] = {
    "use": ("Use over the training", "Use", "%", 1.0, {"cpu_percent": "Processor", "gpu_percent": "Graphics card"}),
    "memory": (
        "Memory over the training",
        "Memory",
        "MiB",
        1 / 2**20,
        {"memory_bytes": "Main memory", "gpu_memory_bytes": "Graphics memory"},
    ),
    "heat": ("Temperature over the training", "Temperature", "°C", 1.0, {"gpu_celsius": "Graphics card"}),
}


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


def preset_cards(seconds: float) -> list[PresetCard]:
    """Return the presets, quickest first, for a training on so many seconds of sound."""
    engine = settings.DEFAULT_CONVERTER
    times = {name: expected(engine=engine, preset=name, audio_seconds=seconds) for name in PRESETS}
    return [
        PresetCard(name, entry.label, entry.description, times[name], training.minutes_of(times[name], name))
        for name, entry in PRESETS.items()
    ]


def training_costs(voice: Voice) -> dict[str, Any]:
    """Return what the forms say of costs: what is left for trainings, and what an instant voice takes."""
    left = cost(voice.workspace, "train_minutes")
    return {"train_left": left, "instant_cost": Cost(left.balance, training.INSTANT_MINUTES)}


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
        "presets": preset_cards(training.usable_seconds(row)),
        "consent": row.consent,
        "is_locked": locks.is_locked(row),
        **training_costs(row),
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
        "resources": resources_of(row.resources),
        "plots": [(f"{name}-{row.code}", plot) for name, plot in resource_plots(row.resources).items()],
    }
    return render(request, "voices/_model_body.html" if request.htmx else "voices/model.html", context)


@require_safe
@member("viewer")
def resources(request: WorkspaceRequest, voice: UUID, model: UUID) -> HttpResponse:
    """What a training took of its machine, as a JSON file."""
    row = model_of(request, voice, model)
    answer = JsonResponse(row.resources, json_dumps_params={"indent": 1})
    answer["Content-Disposition"] = f'attachment; filename="resources-version-{row.version}.json"'
    return answer


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


def resource_plots(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what ``plot.js`` draws of a training's record, by name; nothing where it has no samples."""
    samples = record.get("samples", {})
    times = samples.get("seconds", [])
    plots = {}
    for key, (title, label, unit, factor, lines) in _PLOTS.items():
        series = [
            {"name": name, "x": times, "y": [None if value is None else value * factor for value in samples[column]]}
            for column, name in lines.items()
            if times and column in samples
        ]
        if series:
            axes = {"x": {"label": "Time", "unit": "s"}, "y": {"label": label, "unit": unit, "scale": "linear"}}
            plots[key] = {"title": title, "description": "", **axes, "series": series}
    return plots


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
