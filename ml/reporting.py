"""An evaluation as one HTML file: no script, nothing fetched, by day and by night, on a phone and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.util import find_spec

import numpy as np

from ml import f0
from ml.audio import load
from ml.averages import CONFIDENCE, Row
from ml.bars import CHECKS, FIRST_BAR, METRICS, SILENCE_BAR_DB, TARGET_BAR, Metric
from ml.bench import Conversion
from ml.errors import EngineError
from ml.evaluation import Evaluation
from ml.judges import RATE
from ml.plots import Line, Strip, contours, spectrogram, strips
from ml.report_style import STYLE
from ml.tables import figure

EXAMPLES = 5
EXAMPLE_SECONDS = 12.0
_DISTRIBUTED = ("secs", "margin", "p808")
_TITLES = {
    "voices": "Voices",
    "mean": "Mean",
    "directions": "Directions",
    "amounts": "By amount of speech",
    "natural": "Natural speech of the same speakers",
    "singing": "Singing",
    "conversions": "Conversions",
}
_LABELS = {metric.key: metric.label for metric in METRICS} | {
    "name": "name", "conversions": "conversions", "words": "words",
    "unconverted_secs": "SECS of the source to the voice", "per": "PER", "natural_per": "PER of the source",
    "fcpe_cents": "F0 error by FCPE, cents", "source_overall": "OVRL of the source",
    "source_p808": "P.808 of the source", "rtf": "real-time factor",
    "length_error": "length error, samples", "silence_db": "silence, dB",
    "source_clicks": "clicks of the source", "speech_seconds": "speech, s", "training_seconds": "training, s",
    "pitch": "pitch, semitones", "seconds": "length, s", "phones": "phones", "errors": "phone errors",
    "natural_errors": "phone errors of the source", "heard_phones": "phones heard",
    "heard_errors": "errors against what was heard",
}  # fmt: skip


def check() -> None:
    """Raises EngineError when what draws the report is not installed."""
    if find_spec("matplotlib") is None:
        raise EngineError("The report needs matplotlib; install the development extra (requirements-dev.txt).")


def as_html(found: Evaluation, title: str = "Evaluation") -> str:
    """The report: the main table first, then figures against their bars, distributions, examples, and all figures.

    Every figure in it is one of `found.as_json()`, rounded. Raises EngineError without matplotlib.
    """
    check()
    name = escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Whatever a name may hold: the page can fetch nothing and run nothing.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'\"><title>{name}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{name}</h1>{_about(found)}{_failures(found)}{_tables(found)}{_against_bars(found)}"
        f"{_distributions(found)}{_examples(found)}{_every(found)}{_meanings()}</main></body></html>\n"
    )


def _about(found: Evaluation) -> str:
    facts = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in found.about.items()
    )
    return f'<dl class="facts">{facts}</dl>'


def _failures(found: Evaluation) -> str:
    sentences = "".join(f"<li>{escape(sentence)}</li>" for sentence in found.failures)
    return f'<section class="notice"><h2>Not judged</h2><ul>{sentences}</ul></section>' if sentences else ""


def _tables(found: Evaluation) -> str:
    """Short tables in full; what every single conversion did is further down."""
    shown = [(title, rows) for title, rows in found.tables.items() if rows and title != "conversions"]
    parts = [f"<h2>{escape(_TITLES.get(title, title))}</h2>{_table(rows)}" for title, rows in shown]
    note = f"Below a mean stands its {CONFIDENCE:.0%} interval over the conversions; other voices would differ by more."
    return f"<section>{parts[0]}<p class=note>{note}</p>{''.join(parts[1:])}</section>"


def _table(rows: Sequence[Row]) -> str:
    hidden = {"intervals", "voice", "direction", "source"}
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in hidden]
    leading = [metric.key for metric in METRICS if metric.key in columns]
    columns = ["name", *leading, *(key for key in columns if key not in {"name", *leading})]
    head = "".join(f"<th scope=col>{escape(_LABELS.get(key, key))}</th>" for key in columns)
    body = "".join(
        f"<tr><th scope=row>{escape(str(row.get('name', '')))}</th>"
        + "".join(f"<td>{_cell(row, key)}</td>" for key in columns[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(row: Row, key: str) -> str:
    value, span = figure(row, key)
    return escape(value) + (f"<small>{escape(span)}</small>" if span else "")


def _against_bars(found: Evaluation) -> str:
    """A plot for each metric with a bar a voice; without voices a bar a conversion, if they are few, and the mean."""
    rows = found.tables.get("voices") or [*_few(found.tables["conversions"]), *found.tables["mean"]]
    plots = []
    for metric in METRICS:
        bars = [Strip(str(row["name"]), row[metric.key], _span(row, metric.key)) for row in rows if metric.key in row]
        if bars:
            lines = _lines(metric, rows[-1], found.tables.get("natural", []))
            picture = strips(bars, lines, metric.axis, metric.digits)
            plots.append(_figure(metric, picture))
    return f'<section><h2>Against the bars</h2><div class="plots">{"".join(plots)}</div></section>'


def _few(rows: Sequence[Row]) -> Sequence[Row]:
    return rows if len(rows) <= 24 else []


def _figure(metric: Metric, picture: str) -> str:
    better = "more is better" if metric.higher else "less is better"
    caption = f"<b>{escape(metric.label)}</b> <span>{better}</span>"
    return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"


def _span(row: Row, key: str) -> tuple[float, float] | None:
    span = row.get("intervals", {}).get(key)
    return (span[0], span[1]) if span else None


def _lines(metric: Metric, mean: Row, natural: Sequence[Row]) -> list[Line]:
    """The references of a metric: measured here where that is possible."""
    lines = []
    measured = [row[metric.key] for row in natural if metric.key in row]
    if measured or metric.natural is not None:
        at = float(np.mean(measured)) if measured else metric.natural or 0.0
        lines.append(Line(at, "natural", "natural speech"))
    if metric.reference in mean:
        lines.append(Line(mean[metric.reference], "unconverted", "unconverted source"))
    if metric.first is not None:
        lines.append(Line(metric.first, "first", "first bar"))
    if metric.target is not None:
        lines.append(Line(metric.target, "target", "target bar"))
    return lines


def _distributions(found: Evaluation) -> str:
    """Every conversion as a dot, by voice and by direction; songs are a direction of their own."""
    rows = [conversion.row for conversion in found.conversions]
    plots = []
    for metric in METRICS:
        for group in ("voice", "direction"):
            spoken = [row for row in rows if group == "direction" or row.get("direction") != "singing"]
            named = [row for row in spoken if group in row and metric.key in row]
            if metric.key in _DISTRIBUTED and len(named) > 1:
                picture = strips(_groups(named, group, metric.key), [], metric.axis, metric.digits)
                caption = f"<b>{escape(metric.label)}</b> <span>by {group}, a dot a conversion, a line the mean</span>"
                plots.append(f"<figure><figcaption>{caption}</figcaption>{picture}</figure>")
    return f'<section><h2>Distribution</h2><div class="plots">{"".join(plots)}</div></section>' if plots else ""


def _groups(rows: Sequence[Row], group: str, key: str) -> list[Strip]:
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(str(row[group]), []).append(row[key])
    return [Strip(name, float(np.mean(found)), points=tuple(found)) for name, found in sorted(values.items())]


def _examples(found: Evaluation) -> str:
    """Source and result of a few conversions, from the least to the most like the voice, or else the most natural."""
    key = "margin" if all("margin" in one.row for one in found.conversions) else "p808"
    ordered = sorted(found.conversions, key=lambda one: (one.row[key], one.row["name"]))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(EXAMPLES, len(ordered))).round().astype(int))
    order = "" if len(places) == 1 else f", from the lowest {_LABELS[key]} to the highest, evenly spaced between"
    parts = "".join(_example(ordered[place]) for place in places)
    note = f"{len(places)} of {len(ordered)}{order}; the first {EXAMPLE_SECONDS:.0f} s of each."
    return f"<section><h2>Examples</h2><p class=note>{escape(note)}</p>{parts}</section>"


def _example(conversion: Conversion) -> str:
    row = conversion.row
    sounds = [load(path, RATE)[0][: int(EXAMPLE_SECONDS * RATE)] for path in (conversion.source, conversion.result)]
    tracks = [f0.extract(samples, RATE).f0 for samples in sounds]
    title = " into ".join(str(row[key]) for key in ("name", "voice") if key in row)
    figures = ", ".join(
        f"{metric.label} {row[metric.key]:.{metric.digits}f}" for metric in METRICS if metric.key in row
    )
    pictures = "".join(
        f'<figure><img src="{spectrogram(samples, RATE)}" alt="Spectrogram of the {name}, 0 to 8 kHz">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, samples in zip(("source", "result"), sounds, strict=True)
    )
    legend = '<ul class="legend"><li class="of-source">source</li><li class="of-result">result</li></ul>'
    curves = contours(zip(("of-source", "of-result"), tracks, strict=True))
    moved = f"Pitch, moved by {row['pitch']:+.1f} semitones"
    return (
        f"<article><h3>{escape(title)}</h3><p class=note>{escape(figures)}</p>"
        f'<div class="pair">{pictures}</div>'
        f"<figure><figcaption>{moved} {legend}</figcaption>{curves}</figure></article>"
    )


def _every(found: Evaluation) -> str:
    rows = [{**one.row, "name": " into ".join(_names(one.row))} for one in found.conversions]
    return f"<section><details><summary>All {len(rows)} conversions</summary>{_table(rows)}</details></section>"


def _names(row: Row) -> list[str]:
    return [str(row[key]) for key in ("name", "voice") if key in row]


def _meanings() -> str:
    entries = [(metric.label, metric.meaning + _bars(metric)) for metric in METRICS]
    entries += [(_LABELS.get(key, key), meaning) for key, meaning in CHECKS.items()]
    found = "".join(f"<dt>{escape(label)}</dt><dd>{escape(meaning)}</dd>" for label, meaning in entries)
    bars = f"{FIRST_BAR}; {TARGET_BAR}."
    return (
        f"<section><h2>What the figures mean</h2><dl class=meanings>{found}</dl><p class=note>{escape(bars)} "
        f"Silence: under {SILENCE_BAR_DB:.0f} dB.</p></section>"
    )


def _bars(metric: Metric) -> str:
    """The bars of a metric as words; nothing where there are none."""
    sign = ">=" if metric.higher else "<="
    bars = ((FIRST_BAR, metric.first), (TARGET_BAR, metric.target))
    said = [f"{name.split(':')[0]} {sign} {value:g}" for name, value in bars if value is not None]
    return f" ({', '.join(said)})" if said else ""
