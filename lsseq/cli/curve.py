"""A curve that a command draws beside its figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def save_curve(path: Path, points: Mapping[int, float], lines: Mapping[str, float], *, x: str, y: str) -> None:
    """Write a curve through points as a PNG file, with level lines for comparison.

    Args:
        path: of the file.
        points: y by x.
        lines: y of each line, by its name.
        x, y: what the axes say.

    Raises:
        RequestError: matplotlib is not installed.
    """
    from lsseq.boundaries.draw.figures import COLOURS, GREY, new_figure

    figure = new_figure(6, 4)
    axes = figure.subplots()
    axes.plot(list(points), list(points.values()), "o-", color=COLOURS[0])
    for (name, level), colour in zip(lines.items(), (COLOURS[2], GREY), strict=False):
        axes.axhline(level, color=colour, linestyle="--", label=name)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if lines:
        axes.legend()
    figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
