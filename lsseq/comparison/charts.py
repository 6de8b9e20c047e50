"""Curves and points as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 300, 56, 26, 10, 42
POINTS = 400
"""Most points of a curve; longer ones are thinned, since no screen shows more."""
COLOURS = 8
DASHES = ("", "7 4", "2 4")
"""Beyond as many curves as there are colours the next pattern is taken."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """The points of one run."""

    name: str
    style: int
    """Which colour and pattern, from 0; runs that belong together have the same."""
    points: Sequence[Point]


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers, and where they stand in the picture."""

    low: float
    high: float
    start: float
    end: float
    """In the picture, for `low` and `high`."""
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, log: bool = False) -> Axis:
        """From the least to the greatest, and a little around a single one."""
        low, high = min(values), max(values)
        size = max(abs(low), abs(high))
        if high - low <= max(size / 1e9, 1e-300):
            around = max(size, 1e-9) / 10
            low, high = (low / 2, high * 2) if log else (low - around, high + around)
        return cls(low, high, start, end, log)

    def at(self, value: float) -> float:
        scale = math.log if self.log else float
        part = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self.start + (self.end - self.start) * part

    def ticks(self) -> list[float]:
        """Round numbers on the stretch: about five, on a logarithmic one 1, 2 and 5 in every decade."""
        if self.log and self.high / self.low > 5:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) <= 4 else (1,)
            ticks = [step * 10.0**decade for decade in decades for step in steps]
            return [tick for tick in ticks if self.low <= tick <= self.high]
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, math.floor(self.high / step) + 1)]


def curves(series: Sequence[Series], x: str, y: str) -> str:
    """A line for each series; `x` and `y` name the axes."""
    return _chart(series, x, y, _line, log=False)


def scatter(series: Sequence[Series], x: str, y: str) -> str:
    """Points; x is logarithmic."""
    return _chart(series, x, y, _dots, log=True)


def key(name: str, style: int, link: str) -> str:
    """The entry of a legend, which leads to the run."""
    sample = f'<svg class="key" viewBox="0 0 24 10"><path class="{_class(style)}"{_dash(style)} d="M0 5H24"/></svg>'
    return f'<a href="{escape(link)}">{sample}{escape(name)}</a>'


def _chart(series: Sequence[Series], x: str, y: str, draw: Callable[[Series, Axis, Axis], str], *, log: bool) -> str:
    points = [point for one in series for point in one.points]
    across = Axis.over([point[0] for point in points], LEFT, WIDTH - RIGHT, log=log)
    up = Axis.over([point[1] for point in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<path class="grid" d="M{LEFT} {up.at(tick):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{up.at(tick) + 4:.1f}" text-anchor="end">{text}</text>'
        for tick, text in _labelled(up.ticks())
    ]
    parts += [
        f'<path class="grid" d="M{across.at(tick):.1f} {HEIGHT - BOTTOM}v5"/>'
        f'<text x="{across.at(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{text}</text>'
        for tick, text in _labelled(across.ticks())
    ]
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x)}</text>')
    parts += [draw(one, across, up) for one in series]
    label = escape(f"{y} against {x}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _line(series: Series, across: Axis, up: Axis) -> str:
    points = series.points[:: -(-len(series.points) // POINTS)]
    if points[-1] != series.points[-1]:
        points = [*points, series.points[-1]]
    places = " ".join(f"{across.at(x):.1f},{up.at(y):.1f}" for x, y in points)
    title = f"<title>{escape(series.name)}</title>"
    if len(points) == 1:
        return _dots(series, across, up)
    return f'<polyline class="{_class(series.style)}"{_dash(series.style)} points="{places}">{title}</polyline>'


def _dots(series: Series, across: Axis, up: Axis) -> str:
    title = f"<title>{escape(series.name)}</title>"
    return "".join(
        f'<circle class="{_class(series.style)}"{_dash(series.style)} '
        f'cx="{across.at(x):.1f}" cy="{up.at(y):.1f}" r="5">{title}</circle>'
        for x, y in series.points
    )


def _class(style: int) -> str:
    """Points of a colour that comes again are `open`."""
    return f"s{style % COLOURS + 1}" + (" open" if style >= COLOURS else "")


def _dash(style: int) -> str:
    dash = DASHES[style // COLOURS % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _labelled(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Each with its text, of as many digits as tell them apart."""
    for digits in range(4, 17):
        texts = [_short(tick, digits) for tick in ticks]
        if len(set(texts)) == len(texts):
            break
    return list(zip(ticks, texts, strict=True))


def _short(value: float, digits: int) -> str:
    """1.5k, 20M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"
