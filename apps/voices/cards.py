"""A model's card as its page shows it: every figure with a name, a unit and, where it needs one, a meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.template.defaultfilters import filesizeformat

from apps.jobs.templatetags.job_words import duration
from apps.voices.models import VoiceModel
from ml.catalog import CONVERTERS, F0_METHODS, PRECISIONS, PRESETS


@dataclass(frozen=True)
class Fact:
    """One line of the card."""

    label: str
    value: str
    meaning: str = ""


_METRICS = {
    "similarity": (
        "Likeness to the speaker",
        "{:.2f}",
        "From -1 to 1, on takes that were not trained on; 1 is the same.",
    ),
    "held_out": (
        "Distance on held-out takes",
        "{:.3f}",
        "Between the rebuilt sound and the real one; lower is better.",
    ),
    "seconds_of_speech": ("Speech learnt from", "{:.0f} s", ""),
}


def _percent(mean: float, peak: float) -> str:
    return f"{mean:.0f} % on average, {peak:.0f} % at most"


def _bytes(mean: float, peak: float) -> str:
    return f"{filesizeformat(mean)} on average, {filesizeformat(peak)} at most"


_USED: dict[str, tuple[str, Callable[[float, float], str]]] = {
    "cpu_percent": ("Processor (one core is 100 %)", _percent),
    "memory_bytes": ("Memory", _bytes),
    "gpu_percent": ("Graphics card", _percent),
    "gpu_memory_bytes": ("Graphics memory", _bytes),
    "gpu_celsius": ("Its temperature", lambda mean, peak: f"{mean:.0f} °C on average, {peak:.0f} °C at most"),
}
_OPTIONS = {
    "steps": ("Steps asked for", "{}"),
    "batch": ("Clips a step", "{}"),
    "denoise": ("Noise reduction", "{:.0%}"),
    "learning_rate": ("Learning rate", "{:g}"),
    "seed": ("Seed", "{}"),
    "save_seconds": ("Saved every", "{:g} s"),
}


def metrics_of(model: VoiceModel) -> list[Fact]:
    """Return what the engine measured of the model."""
    return [
        Fact(label, pattern.format(model.metrics[name]), meaning)
        for name, (label, pattern, meaning) in _METRICS.items()
        if name in model.metrics
    ]


def resources_of(record: dict[str, Any]) -> list[Fact]:
    """Return what a training took of its machine, in words; nothing where no record was kept."""
    if not record:
        return []
    machines = "; then ".join(machine["name"] for machine in record["machines"])
    stages = sorted(record["stages"].items(), key=lambda stage: -stage[1])
    facts = [
        Fact("Machine", machines),
        Fact("Time", duration(record["seconds"]), _attempts(record)),
        Fact("Of that", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages)),
    ]
    facts += [
        Fact(label, pattern(figure["mean"], figure["peak"]))
        for name, (label, pattern) in _USED.items()
        if (figure := record["figures"].get(name)) is not None
    ]
    if all(machine["gpu"] is None for machine in record["machines"]):
        facts.append(Fact("Graphics card", "None was used"))
    return facts


def _attempts(record: dict[str, Any]) -> str:
    count = len(record["attempts"])
    return f"In {count} attempts, of which all but the last were interrupted." if count > 1 else ""


def card_of(model: VoiceModel, takes: int) -> list[Fact]:
    """Return what the model is, what it was made from and how."""
    facts = [
        Fact("Kind", model.get_kind_display()),
        Fact("Engine", _label(CONVERTERS, model.engine)),
        Fact("Made from", f"{model.seconds_of_audio:.0f} s in {takes} takes"),
    ]
    if model.preset:
        facts.append(Fact("Preset", _label(PRESETS, model.preset)))
    if model.steps:
        facts.append(Fact("Steps", str(model.steps)))
    if "precision" in model.options:
        facts.append(Fact("Precision", _label(PRECISIONS, model.options["precision"])))
    if "f0_method" in model.options:
        facts.append(Fact("Pitch method", _label(F0_METHODS, model.options["f0_method"])))
    facts += [
        Fact(label, pattern.format(model.options[name]))
        for name, (label, pattern) in _OPTIONS.items()
        if model.options.get(name) is not None
    ]
    return facts + (_file_facts(model) if model.file else [])


def _file_facts(model: VoiceModel) -> list[Fact]:
    card: dict[str, Any] = model.card
    facts = [Fact("Training time", f"{model.training_seconds:.1f} s")] if model.training_seconds else []
    if card.get("f0_median_hz"):
        spread = f"{card['f0_low_hz']:.0f} to {card['f0_high_hz']:.0f} Hz"
        facts.append(Fact("Pitch of the voice", f"{card['f0_median_hz']:.0f} Hz, {spread}"))
    if card.get("bandwidth_hz"):
        facts.append(Fact("Recordings reach", f"{card['bandwidth_hz']:.0f} Hz"))
    if card.get("base"):
        facts.append(Fact("Base", str(card["base"])))
    return [*facts, Fact("Size", filesizeformat(model.size)), Fact("SHA-256", model.sha256)]


def _label(table: Any, name: str) -> str:
    return str(table[name].label) if name in table else name
