"""Plots of an evaluation as inline SVG that takes its colours from the page, and spectrograms as PNG.

Positions are percentages and text keeps its size, so that a plot can be read at any width. Colours are classes; the
page's style sheet (`ml.reporting`) says what they are by day and by night.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from ml.audio import FRAMES_PER_SECOND, Samples

ROW = 26  # px
_PICTURE = (480, 160)  # px, width and height of a spectrogram at most
_FFT = 512
_RANGE_DB = 70.0


@dataclass(frozen=True)
class Line:
    """A reference across a plot: where it is, a class that gives its colour and dashes, and what it is."""

    at: float
    kind: str
    label: str


@dataclass(frozen=True)
class Strip:
    """One row of a plot: its name, its mean, the interval of the mean if there is one, and single values if wanted."""

    name: str
    value: float
    span: tuple[float, float] | None = None
    points: tuple[float, ...] = ()


def strips(rows: Sequence[Strip], lines: Sequence[Line], axis: tuple[float, float], digits: int) -> str:
    """Rows with a bar to the mean and a whisker for its interval, or with a dot for each value where there are any.

    The axis grows to hold every value. Names and figures are text beside the plot, so nothing is in the picture alone.
    """
    low, high = _axis(rows, lines, axis)

    def x(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    marks = "".join(_reference(line, x(line.at)) for line in lines)
    found = []
    for row in rows:
        inside = [*(f'<circle cx="{x(point)}" cy="50%" r="3" class="point"/>' for point in row.points)]
        if not row.points:
            inside.append(f'<rect x="0" y="25%" width="{x(row.value)}" height="50%" class="bar"/>')
        if row.span:
            ends = f'x1="{x(row.span[0])}" x2="{x(row.span[1])}"'
            inside.append(f'<line {ends} y1="50%" y2="50%" class="whisker"/>')
        inside.append(f'<line x1="{x(row.value)}" x2="{x(row.value)}" y1="15%" y2="85%" class="mean"/>')
        figure = f"{row.value:.{digits}f}"
        picture = f'<svg height="{ROW}" aria-hidden="true">{marks}{"".join(inside)}</svg>'
        found.append(f'<div class="strip"><span>{escape(row.name)}</span>{picture}<span>{figure}</span></div>')
    ends = f"<span>{low:.{digits}f}</span><span>{high:.{digits}f}</span>"
    scale = f'<div class="strip"><span></span><div class="scale">{ends}</div><span></span></div>'
    return f'<div class="strips">{"".join(found)}{scale}</div>{_legend(lines, digits)}'


def _axis(rows: Sequence[Strip], lines: Sequence[Line], axis: tuple[float, float]) -> tuple[float, float]:
    values = [row.value for row in rows] + [line.at for line in lines]
    values += [value for row in rows for value in (*(row.span or ()), *row.points)]
    low, high = min(*axis, *values), max(*axis, *values)
    margin = 0.03 * (high - low)
    return (low if low == axis[0] else low - margin), (high if high == axis[1] else high + margin)


def _reference(line: Line, x: str) -> str:
    return f'<line x1="{x}" x2="{x}" y1="0" y2="100%" class="reference {line.kind}"/>'


def _legend(lines: Sequence[Line], digits: int) -> str:
    entries = "".join(
        f'<li><svg width="14" height="14" aria-hidden="true">{_reference(line, "7")}</svg>'
        f" {escape(line.label)} {line.at:.{digits}f}</li>"
        for line in lines
    )
    return f'<ul class="legend">{entries}</ul>' if lines else ""


def contours(tracks: Iterable[tuple[str, NDArray[np.float32]]]) -> str:
    """Pitch tracks, (class, (T,) in Hz per 10 ms, 0 where unvoiced), over each other on a logarithmic axis."""
    drawn = list(tracks)
    voiced = np.concatenate([track[track > 0] for _, track in drawn])
    if not len(voiced):
        return "<p>No pitch was found in either sound.</p>"
    low, high = float(np.log2(voiced.min())) - 0.1, float(np.log2(voiced.max())) + 0.1
    frames = max(len(track) for _, track in drawn)
    paths = "".join(
        f'<path d="{_path(track, low, high)}" class="contour {kind}" vector-effect="non-scaling-stroke"/>'
        for kind, track in drawn
    )
    octaves = [hz for hz in (62.5, 125, 250, 500, 1000) if low < np.log2(hz) < high]
    grid = "".join(
        f'<line x1="0" x2="{frames}" y1="{_y(hz, low, high):.1f}" y2="{_y(hz, low, high):.1f}" class="grid" '
        'vector-effect="non-scaling-stroke"/>'
        for hz in octaves
    )
    names = "".join(f'<span style="top:{_y(hz, low, high) / 10:.1f}%">{hz:g} Hz</span>' for hz in octaves)
    picture = f'<svg viewBox="0 0 {frames} 1000" preserveAspectRatio="none" aria-hidden="true">{grid}{paths}</svg>'
    return f'<div class="contours">{picture}{names}<b>{frames / FRAMES_PER_SECOND:.1f} s</b></div>'


def _y(hz: float, low: float, high: float) -> float:
    return float(1000 * (high - np.log2(hz)) / (high - low))


def _path(track: NDArray[np.float32], low: float, high: float) -> str:
    """Move to where voicing begins, line on while it lasts."""
    parts: list[str] = []
    before = 0.0
    for index, hz in enumerate(track):
        if hz > 0:
            parts.append(f"{'L' if before > 0 else 'M'}{index} {_y(float(hz), low, high):.0f}")
        before = float(hz)
    return "".join(parts)


def spectrogram(samples: Samples, rate: int) -> str:
    """The level of mono `samples` (n,) over time and 0 to rate / 2 hertz, loudest 70 dB, as the data URI of a PNG."""
    from matplotlib.image import imsave

    hop = max(_FFT // 4, -(-len(samples) // _PICTURE[0]))
    _, _, power = scipy.signal.spectrogram(
        np.pad(samples, (0, max(0, _FFT - len(samples)))), rate, "hann", _FFT, max(0, _FFT - hop), mode="psd"
    )
    level = 10 * np.log10(np.maximum(power, 1e-14))
    shown = level[:, :: max(1, level.shape[1] // _PICTURE[0])]
    rows = np.linspace(0, len(shown) - 1, _PICTURE[1]).astype(int)
    top = float(shown.max())
    buffer = io.BytesIO()
    imsave(buffer, shown[rows], vmin=top - _RANGE_DB, vmax=top, cmap="magma", origin="lower", format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
