"""Line charts as inline SVG: colours come from the page's style sheet, so they follow its theme.

Each chart is drawn twice, wide and narrow, and the style sheet shows one: text in an SVG shrinks
with it, and would not be readable on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_MAX_POINTS = 400  # more than the pixels of a phone
_SIZES = {"wide": (760, 300), "narrow": (360, 250)}
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 44  # room for labels
_TICKS = {"wide": 6, "narrow": 4}

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart.

    Attributes:
        name: For the legend.
        style: Class in the style sheet: its colour and width.
        points: Pairs of step and value; what is not finite is left out.
        dots: Mark each point.
    """

    name: str
    style: str
    points: Sequence[Point]
    dots: bool = False


def chart(series: Sequence[Series], *, title: str, description: str, y_label: str) -> str:
    """Draw lines over steps.

    Args:
        series: The lines; those behind come first.
        title: What is shown, for those who do not see it.
        description: What the lines do, in a sentence.
        y_label: Of the vertical axis.

    Returns:
        HTML: legend and two SVGs; a sentence if there is nothing to draw.
    """
    drawn = [Series(s.name, s.style, _thinned(s.points), s.dots) for s in series]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return "<p>No figures were recorded.</p>"
    legend = "".join(f"<li>{_swatch(line)}{escape(line.name)}</li>" for line in drawn)
    parts = [f'<ul class="legend">{legend}</ul>'] if len(drawn) > 1 else []
    for kind in _SIZES:
        parts.append(_svg(drawn, kind, title, description, y_label))
    return "".join(parts)


def _svg(series: Sequence[Series], kind: str, title: str, description: str, y_label: str) -> str:
    width, height = _SIZES[kind]
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points]
    x_ticks = ticks(min(xs), max(xs), _TICKS[kind], whole=True)
    y_ticks = ticks(min(ys), max(ys), 5)
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1)
    y_low, y_high = min(y_ticks[0], *ys), max(y_ticks[-1], *ys)

    def place(point: Point) -> Point:
        across = (point[0] - x_low) / (x_high - x_low)
        up = (point[1] - y_low) / (y_high - y_low)
        x = _LEFT + across * (width - _LEFT - _RIGHT)
        return x, height - _BOTTOM - up * (height - _TOP - _BOTTOM)

    body = [_grid(place, x_ticks, y_ticks, x_low, width, height)]
    body += [_line(line, place) for line in series]
    middle = (_LEFT + width - _RIGHT) / 2
    body.append(f'<text class="axis" x="{middle:.0f}" y="{height - 6}">step</text>')
    rise = (height - _BOTTOM + _TOP) / 2
    body.append(
        f'<text class="axis" transform="translate(13 {rise:.0f}) rotate(-90)">{escape(y_label)}'
        "</text>"
    )
    label = escape(f"{title}. {description}", quote=True)
    return (
        f'<svg class="chart {kind}" role="img" aria-label="{label}" '
        f'viewBox="0 0 {width} {height}">{"".join(body)}</svg>'
    )


def _grid(
    place: object, x_ticks: list[float], y_ticks: list[float], x_low: float, width: int, height: int
) -> str:
    assert callable(place)
    parts = []
    for value in y_ticks:
        y = place((x_low, value))[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{width - _RIGHT}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 8}" y="{y + 4:.1f}">{_label(value)}</text>')
    for value in x_ticks:
        x = place((value, y_ticks[0]))[0]
        parts.append(f'<text class="x" x="{x:.1f}" y="{height - _BOTTOM + 18}">{value:g}</text>')
    return "".join(parts)


def _line(line: Series, place: object) -> str:
    assert callable(place)
    points = [place(point) for point in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [f'<path class="line {line.style}" d="M{path}"/>'] if len(points) > 1 else []
    if line.dots or len(points) == 1:
        parts += [
            f'<circle class="dot {line.style}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points
        ]
    return "".join(parts)


def _swatch(line: Series) -> str:
    dot = f'<circle class="dot {line.style}" cx="14" cy="6" r="4"/>' if line.dots else ""
    return (
        '<svg class="swatch" viewBox="0 0 28 12" aria-hidden="true">'
        f'<path class="line {line.style}" d="M1 6H27"/>{dot}</svg>'
    )


def smoothed(values: Sequence[float], weight: float = 0.9) -> list[float]:
    """Return an exponential mean, corrected for its start."""
    mean, total, result = 0.0, 0.0, []
    for value in values:
        mean = weight * mean + (1 - weight) * value
        total = weight * total + (1 - weight)
        result.append(mean / total)
    return result


def ticks(low: float, high: float, wanted: int, *, whole: bool = False) -> list[float]:
    """Return round numbers for an axis; those of a vertical one reach around its values.

    >>> ticks(0.0, 10.0, 5)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    >>> ticks(1, 7, 4, whole=True)
    [2.0, 4.0, 6.0]
    """
    if high <= low:
        if whole:
            return [low]
        spread = abs(low) / 2 or 1.0
        low, high = low - spread, high + spread
    step = _round_step((high - low) / wanted)
    if whole:
        step = max(1.0, math.ceil(step))
        first, last = math.ceil(low / step), math.floor(high / step)
    else:
        first, last = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _round_step(rough: float) -> float:
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * 0.999)


def _thinned(points: Sequence[Point]) -> list[Point]:
    finite = [point for point in points if math.isfinite(point[1])]
    stride = math.ceil(len(finite) / _MAX_POINTS)
    if stride <= 1:
        return finite
    kept = finite[::stride]
    return kept if kept[-1] == finite[-1] else [*kept, finite[-1]]


def _label(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 1e-3 else f"{value:.6g}"
