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
_SIZES = {"wide": (760, 300), "narrow": (320, 240)}
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


def chart(
    series: Sequence[Series],
    *,
    title: str,
    description: str,
    y_label: str,
    from_zero: bool = False,
) -> str:
    """Draw lines over steps.

    Args:
        series: The lines; those behind come first.
        title: What is shown, for those who do not see it.
        description: What the lines do, in a sentence.
        y_label: Of the vertical axis.
        from_zero: Whether that begins at 0; such a chart is low, since little happens in it.

    Returns:
        HTML: legend and two SVGs; a sentence if there is nothing to draw.
    """
    drawn = [Series(s.name, s.style, _thinned(s.points), s.dots) for s in series]
    drawn = [line for line in drawn if line.points]
    if not drawn:
        return "<p>No figures were recorded.</p>"
    legend = "".join(f"<li>{_swatch(line)}{escape(line.name)}</li>" for line in drawn)
    parts = [f'<ul class="legend">{legend}</ul>'] if len(drawn) > 1 else []
    label = escape(f"{title}. {description}", quote=True)
    for kind, (width, height) in _SIZES.items():
        frame = _Frame(drawn, width, height - 90 * from_zero, _TICKS[kind], from_zero)
        opening = f'<svg class="chart {kind}" role="img" aria-label="{label}" '
        opening += f'viewBox="0 0 {frame.width} {frame.height}">'
        parts.append(opening + frame.grid(y_label) + "".join(map(frame.line, drawn)) + "</svg>")
    return "".join(parts)


class _Frame:
    """The axes of one drawing, and where points lie in it."""

    def __init__(
        self, series: Sequence[Series], width: int, height: int, x_ticks: int, from_zero: bool
    ) -> None:
        xs = [x for line in series for x, _ in line.points]
        ys = [y for line in series for _, y in line.points] + [0.0] * from_zero
        self.width, self.height = width, height
        self._x_ticks = ticks(min(xs), max(xs), x_ticks, whole=True)
        self._y_ticks = ticks(min(ys), max(ys), 3 if from_zero else 5)
        self._x_low, self._x_high = min(xs), max(max(xs), min(xs) + 1)

    def place(self, point: Point) -> Point:
        low, high = self._y_ticks[0], self._y_ticks[-1]
        across = (point[0] - self._x_low) / (self._x_high - self._x_low)
        up = (point[1] - low) / (high - low)
        x = _LEFT + across * (self.width - _LEFT - _RIGHT)
        return x, self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM)

    def grid(self, y_label: str) -> str:
        parts = []
        for value, text in zip(self._y_ticks, labels(self._y_ticks), strict=True):
            y = self.place((self._x_low, value))[1]
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{self.width - _RIGHT}"/>')
            parts.append(f'<text class="y" x="{_LEFT - 8}" y="{y + 4:.1f}">{text}</text>')
        for value in self._x_ticks:
            x, y = self.place((value, 0))[0], self.height - _BOTTOM + 18
            parts.append(f'<text class="x" x="{x:.1f}" y="{y}">{value:g}</text>')
        middle = (_LEFT + self.width - _RIGHT) / 2
        parts.append(f'<text class="axis" x="{middle:.0f}" y="{self.height - 6}">step</text>')
        turned = f"translate(13 {(self.height - _BOTTOM + _TOP) / 2:.0f}) rotate(-90)"
        parts.append(f'<text class="axis" transform="{turned}">{escape(y_label)}</text>')
        return "".join(parts)

    def line(self, line: Series) -> str:
        points = [self.place(point) for point in line.points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts = [f'<path class="line {line.style}" d="M{path}"/>'] if len(points) > 1 else []
        if line.dots or len(points) == 1:
            mark = '<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4"/>'
            parts += [mark.format(line.style, x, y) for x, y in points]
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
    if high <= low and whole:
        return [low]
    if high <= low:
        spread = abs(low) / 2 or 1.0
        low, high = low - spread, high + spread
    step = _round_step((high - low) / wanted)
    if whole:
        step = max(1.0, math.ceil(step))
        first, last = math.ceil(low / step), math.floor(high / step)
    else:
        first, last = math.floor(low / step), math.ceil(high / step)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


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


def scientific(value: float) -> str:
    """Return a small number as people write it.

    >>> scientific(5e-06), scientific(0.0001), scientific(0.0)
    ('5e-6', '1e-4', '0')
    """
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}" if value else "0"


def labels(values: Sequence[float]) -> list[str]:
    """Return the numbers of an axis, all with the same number of digits.

    >>> labels([6.5, 7.0]), labels([0.0, 5e-05, 1e-04])
    (['6.5', '7.0'], ['0', '5e-5', '1e-4'])
    """
    largest = max(map(abs, values))
    if largest < 1e-2:
        return [scientific(value) for value in values]
    digits = next((n for n in range(6) if all(round(v, n) == v for v in values)), 6)
    return [f"{value:.{digits}f}" for value in values]
