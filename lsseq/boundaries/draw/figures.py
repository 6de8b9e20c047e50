"""Figures by matplotlib, which is imported late: it comes with `pip install lsseq[plots]`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lsseq.boundaries.draw.excerpt import Excerpt, Rates
from lsseq.boundaries.draw.table import score_rows
from lsseq.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lsseq.boundaries.score import Report

ROW = 90
"""Symbols in a row of the raster, as in the paper's figure."""
ROWS = 3
"""Rows of the raster."""
COLOURS = ("#1b84aa", "#b37500", "#c13a7c", "#35872a")
"""Of the layers from the lowest; they repeat."""
EMPTY, GREY = "#eeeeea", "#55555c"
"""A cell where nothing is; what is no layer's."""


def save_figure(path: Path, excerpt: Excerpt, report: Report, *, rates: Rates | None = None) -> None:
    """Write one PNG file with all figures for which something is known.

    The first symbols of the excerpt with their boundaries under them (and the norms of the hidden states), rates over
    the training, how long units are, and F1 beside that of the baselines.

    Raises:
        RequestError: matplotlib is not installed.
    """
    rows = [slice(start, start + ROW) for start in range(0, min(len(excerpt.symbols), ROW * ROWS), ROW)]
    levels = report.values.get("gold", [])
    below = bool(rates is not None and len(rates.steps)) + bool(report.lengths) + len(levels)
    heights = [0.4 + 0.16 * len(_bands(excerpt))] * len(rows) + [2.6] * below
    figure = new_figure(12, sum(heights) + 0.6)
    axes = iter(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0] if heights else [])
    for row in rows:
        raster(next(axes), excerpt, row)
    if rates is not None and len(rates.steps):
        rate_curves(next(axes), rates)
    if report.lengths:
        length_curves(next(axes), report.lengths)
    for level in levels:
        f1_bars(next(axes), report.values, level)
    with warnings.catch_warnings():
        # Symbols that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches.

    Raises:
        RequestError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RequestError(
            "figures need matplotlib, which is not installed here", hint="pip install 'lsseq[plots]' installs it"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _bands(excerpt: Excerpt) -> list[tuple[str, str, npt.NDArray[np.floating]]]:
    """Name, colour and (T,) strengths of each band of the raster."""
    bands = [(f"layer {n}", _colour(n), ends.astype(float)) for n, ends in enumerate(excerpt.found.T, start=1)]
    bands += [(level, GREY, ends.astype(float)) for level, ends in excerpt.gold.items()]
    return bands + [(f"|h{n}|", _colour(n), heat) for n, heat in enumerate(excerpt.heat.T, start=1)]


def _colour(layer: int) -> str:
    """Of a layer, from 1."""
    return COLOURS[(layer - 1) % len(COLOURS)]


def raster(axes: Axes, excerpt: Excerpt, row: slice) -> None:
    """Symbols, and under them a band for each detector, coloured where it fires, one for each level of the gold, and
    one for the norm of each layer, from its least in the excerpt to its greatest."""
    from matplotlib.colors import to_rgb

    bands = _bands(excerpt)
    if bands:
        empty = np.array(to_rgb(EMPTY))
        image = [empty + values[row, None] * (np.array(to_rgb(colour)) - empty) for _, colour, values in bands]
        axes.imshow(np.stack(image), aspect="auto", interpolation="nearest")
        axes.hlines(np.arange(len(bands) - 1) + 0.5, -0.5, ROW - 0.5, "white", linewidth=1)
    for place, symbol in enumerate(excerpt.shown[row]):
        faint = symbol != excerpt.symbols[row][place]
        axes.text(
            *(place, -0.7, symbol),
            ha="center",
            va="bottom",
            fontsize=6 if faint else 8,
            color="0.6" if faint else "black",
            family="monospace",
            parse_math=False,
        )
    axes.set_yticks(range(len(bands)), [name for name, _, _ in bands], fontsize=7)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.set_xlim(-0.5, ROW - 0.5)
    axes.set_frame_on(False)


def rate_curves(axes: Axes, rates: Rates) -> None:
    """Boundary rate against training step, a curve for each detector."""
    for layer, curve in enumerate(zip(*rates.rates, strict=True), start=1):
        axes.plot(rates.steps, curve, color=_colour(layer), label=f"layer {layer}")
    axes.set(xlabel="training step", ylabel="boundary rate", ylim=(-0.02, 1.02))
    _finish(axes)


def length_curves(axes: Axes, lengths: Sequence[Sequence[int]]) -> None:
    """Share of units of each length, up to the length that 99 % of the units of every layer have at most."""
    longest = 1
    for layer, counts in enumerate(lengths, start=1):
        shares = np.array(counts) / max(1, sum(counts))
        # The last place counts all that are longer.
        axes.step(range(1, len(counts) - 1), shares[1:-1], where="mid", color=_colour(layer), label=f"layer {layer}")
        longest = max(longest, int(np.searchsorted(np.cumsum(shares[:-1]), 0.99)))
    longest = min(longest, max(map(len, lengths)) - 2)
    axes.set(xlabel="symbols in a unit", ylabel="share of units", xlim=(0.5, longest + 0.5))
    axes.set_ylim(bottom=0)
    _finish(axes)


def _finish(axes: Axes) -> None:
    """A legend, and a frame at the two sides that have numbers."""
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def f1_bars(axes: Axes, values: Mapping[str, Any], level: str) -> None:
    """F1 of each layer and baseline, at the offset that is quoted."""
    scored = [(f"{name}\n({offset})", cells[2]) for name, offset, cells in score_rows(values, level)]
    names, heights = [name for name, _ in scored], [height or 0.0 for _, height in scored]
    layers = len(values["layers"])
    colours = [_colour(n) for n in range(1, layers + 1)] + ["0.7"] * (len(scored) - layers)
    bars = axes.bar(range(len(names)), heights, color=colours)
    axes.bar_label(bars, ["–" if height is None else f"{height:.2f}" for _, height in scored], fontsize=8)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set(ylabel=f"F1 of {level}", ylim=(0, 1.1))
    axes.spines[["top", "right"]].set_visible(False)
