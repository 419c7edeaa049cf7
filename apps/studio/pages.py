"""What the studio's pages show of a conversion, made ready for their templates."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from apps.jobs.models import Artifact, Status
from apps.studio.forms import ConversionForm
from apps.studio.models import Conversion
from apps.studio.options import defaults, described, differences
from ml.catalog import PRESETS

RECENT = 60  # conversions that the published speeds are taken from


@dataclass(frozen=True)
class Measure:
    """One figure of a result with its unit and what it means; ``before`` is the parent's."""

    label: str
    value: str
    meaning: str
    before: str = ""


def _speed(real_time_factor: float) -> str:
    return f"{1 / real_time_factor:.1f} × real time" if real_time_factor > 0 else "–"


_MEASURES = {
    "similarity": (
        "Like the voice",
        "{:.2f}",
        "Likeness of the speaker to the voice's recordings, from -1 to 1; 1 is the same.",
    ),
    "source_similarity": (
        "Like the source",
        "{:.2f}",
        "Likeness to the source's speaker, from -1 to 1; lower means that less of them is left.",
    ),
    "f0_correlation": (
        "Melody kept",
        "{:.3f}",
        "Correlation of the pitch with the source's, shifted and edited as asked; 1 is exactly the same melody.",
    ),
    "f0_rmse_cents": (
        "Pitch deviation",
        "{:.0f} cents",
        "How far the pitch lies from the source's, shifted and edited as asked; 100 cents are a semitone.",
    ),
    "pitch_semitones": ("Pitch shift", "{:+.1f} semitones", "What was added to the source's pitch."),
}


def measures_of(conversion: Conversion) -> list[Measure]:
    """Return what the engine measured, each with its unit and meaning, beside the parent's figures if it has any."""
    before = conversion.parent.metrics if conversion.parent else {}
    found = [
        Measure(
            label,
            pattern.format(conversion.metrics[name]),
            meaning,
            pattern.format(before[name]) if name in before else "",
        )
        for name, (label, pattern, meaning) in _MEASURES.items()
        if name in conversion.metrics
    ]
    if "real_time_factor" in conversion.metrics:
        speed = _speed(conversion.metrics["real_time_factor"])
        earlier = _speed(before["real_time_factor"]) if "real_time_factor" in before else ""
        found.append(Measure("Speed", speed, "Seconds of sound made in one second of computing.", earlier))
    return found


def facts_of(conversion: Conversion, result: Artifact | None) -> dict[str, str]:
    """Return label -> value of all that is needed to make the result again."""
    source = conversion.source
    channels = "mono" if source.channels == 1 else "stereo"
    facts = {
        "Source": f"{source.name}, {source.codec}, {source.sample_rate / 1000:g} kHz, {channels}",
        "Model": f"Version {conversion.model_version} of {conversion.voice}"
        + ("" if conversion.model else ", deleted since"),
        **described(conversion.options),
        "Seed": str(conversion.seed),
    }
    if result is not None:
        facts["Result"] = (
            f"{result.shown('samples'):,} samples at {result.shown('sample_rate') / 1000:g} kHz, "
            f"{'mono' if result.shown('channels') == 1 else 'stereo'}"
        )
        facts["SHA-256"] = result.sha256
    return facts


def pitch_plot(conversion: Conversion) -> dict[str, Any]:
    """Return both pitch curves as ``plot.js`` reads them: gaps where nothing is voiced, or nothing was measured."""
    curves = conversion.curves
    times = curves.get("times", [])
    measured = [value for value in curves.get("result_f0", []) if value is not None]
    share = sum(map(bool, measured)) / max(len(measured), 1)
    whole = len(measured) == len(times)
    reach = "Two curves over the whole length" if whole else f"The result's curve ends at {times[len(measured)]:.0f} s"
    return {
        "title": "Pitch of source and result",
        "description": f"{reach}; {share:.0%} of {'the result' if whole else 'what was measured'} is voiced.",
        "x": {"label": "Time", "unit": "s"},
        "y": {"label": "Pitch", "unit": "Hz", "scale": "notes"},
        "series": [
            {"name": name, "x": times, "y": [value or None for value in curves.get(key, [])]}
            for name, key in (("Source", "source_f0"), ("Result", "result_f0"))
        ],
    }


@dataclass(frozen=True)
class Comparison:
    """An earlier conversion that this one was made from, and what was changed."""

    conversion: Conversion
    result: Artifact
    changes: list[tuple[str, str, str]]


def comparison_of(conversion: Conversion) -> Comparison | None:
    """Return the conversion that this one is a variation of, if its result is still there."""
    parent = conversion.parent
    if parent is None or parent.job.status != Status.DONE or (result := parent.result) is None:
        return None
    changes = differences(parent.options, conversion.options)
    for label, old, new in (
        ("Voice", str(parent.voice), str(conversion.voice)),
        ("Model", f"Version {parent.model_version}", f"Version {conversion.model_version}"),
        ("Source", str(parent.source), str(conversion.source)),
        ("Seed", str(parent.seed), str(conversion.seed)),
    ):
        if old != new:
            changes.append((label, old, new))
    return Comparison(parent, result, changes)


@dataclass(frozen=True)
class Card:
    """One preset to choose: ``speed`` is what this workspace's own conversions took, "" while there are none."""

    name: str
    label: str
    description: str
    speed: str
    checked: bool


def preset_cards(form: ConversionForm) -> list[Card]:
    """Return the presets as cards, each with its median speed over the workspace's recent conversions."""
    rows = form.workspace.conversions.filter(job__status=Status.DONE).values_list("options", "metrics")[:RECENT]
    factors: dict[str, list[float]] = {name: [] for name in PRESETS}
    for options, metrics in rows:
        if options.get("preset") in factors and metrics.get("real_time_factor"):
            factors[options["preset"]].append(metrics["real_time_factor"])
    chosen = form["preset"].value() or defaults()["preset"]
    return [
        Card(
            name,
            entry.label,
            DESCRIPTIONS[name],
            f"Measured here: {_speed(median(factors[name]))}." if factors[name] else "",
            name == chosen,
        )
        for name, entry in PRESETS.items()
    ]


DESCRIPTIONS = {
    "fast": "For trying things out; measures 20 s of the result.",
    "balanced": "The usual choice.",
    "quality": "Blends more of the voice's own sounds; for the final take.",
}
