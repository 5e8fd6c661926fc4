"""Charts as inline SVG, without a library or a script: lines, points and areas between two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 18, 12, 54


@dataclass(frozen=True, slots=True)
class Marks:
    """A line, or points, with a name for the legend."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str = "model"
    """CSS class: ``model``, ``other``, ``guide``, ``positive``, ``negative``."""
    line: bool = True
    area: bool = False
    """Fill down to the axis."""


def chart(
    title: str,
    x_label: str,
    y_label: str,
    marks: Sequence[Marks],
    *,
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
    log_x: bool = False,
    x_ticks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
    y_ticks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
) -> str:
    """An SVG figure. Points outside the ranges are cut off.

    Parameters
    ----------
    title : what it shows; also read out by screen readers.
    log_x : spread x by its logarithm; ``x_range`` then has to be above 0.
    """
    inner_w, inner_h = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def across(x: float) -> float:
        low, high = (math.log10(v) for v in x_range) if log_x else x_range
        return _LEFT + inner_w * ((math.log10(x) if log_x else x) - low) / (high - low)

    def up(y: float) -> float:
        return _TOP + inner_h * (1 - (y - y_range[0]) / (y_range[1] - y_range[0]))

    parts = [
        f"<figure><figcaption>{escape(title)}</figcaption>",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
    ]
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for x in x_ticks:
        parts.append(f'<line class="grid" x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{_TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{across(x):.1f}" y="{bottom + 19}" text-anchor="middle">{_tick(x)}</text>')
    for y in y_ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{up(y):.1f}" y2="{up(y):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{up(y) + 5:.1f}" text-anchor="end">{_tick(y)}</text>')
    parts.append(f'<text x="{_LEFT + inner_w / 2}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>')
    middle = _TOP + inner_h / 2
    parts.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')
    for mark in marks:
        inside = [
            (across(x), up(y))
            for x, y in mark.points
            if x_range[0] <= x <= x_range[1] and y_range[0] <= y <= y_range[1]
        ]
        if not inside:
            continue
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in inside)
        if mark.area:
            ends = f"{inside[-1][0]:.1f},{bottom} {inside[0][0]:.1f},{bottom}"
            parts.append(f'<polygon class="area {mark.style}" points="{path} {ends}"/>')
        if mark.line:
            parts.append(f'<polyline class="line {mark.style}" points="{path}"/>')
        else:
            parts += [f'<circle class="dot {mark.style}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>' for x, y in inside]
    parts.append("</svg>")
    named = [mark for mark in marks if mark.name and mark.points]
    if named:
        keys = "".join(
            f'<span><i class="key {mark.style}{"" if mark.line else " round"}"></i>{escape(mark.name)}</span>'
            for mark in named
        )
        parts.append(f'<p class="legend">{keys}</p>')
    parts.append("</figure>")
    return "".join(parts)


def _tick(value: float) -> str:
    return f"{value:g}"
