"""Figures by matplotlib, which is imported late: it comes with `pip install lsseq[plots]`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lsseq.boundaries.draw.excerpt import Excerpt, Rates
from lsseq.boundaries.draw.table import score_rows
from lsseq.errors import RequestError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lsseq.boundaries.score import Report

ROW = 90
"""Symbols in a row of the raster, as in the paper's figure."""
ROWS = 3
"""Rows of the raster."""
COLOURS = ("#2a9fc9", "#d18f00", "#d0488a", "#4aa83e")
"""Of the layers from the lowest; they repeat."""


def save_figure(path: Path, excerpt: Excerpt, report: Report, *, rates: Rates | None = None) -> None:
    """Write one PNG file with all figures for which something is known.

    The first symbols of the excerpt with their boundaries under them (and the norms of the hidden states), rates over
    the training, how long units are, and F1 beside that of the baselines.

    Raises:
        RequestError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RequestError(
            "figures need matplotlib, which is not installed here", hint="pip install 'lsseq[plots]' installs it"
        ) from error
    rows = [slice(start, start + ROW) for start in range(0, min(len(excerpt.symbols), ROW * ROWS), ROW)]
    levels = report.values.get("gold", [])
    below = bool(rates is not None and len(rates.steps)) + bool(report.lengths) + len(levels)
    bands = excerpt.found.shape[1] + (0 if excerpt.norms is None else excerpt.norms.shape[1])
    heights = [0.4 + 0.16 * bands] * len(rows) + [2.6] * below
    figure = Figure(figsize=(12, sum(heights) + 0.6), layout="constrained")
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


def raster(axes: Axes, excerpt: Excerpt, row: slice) -> None:
    """Symbols, and under them a band for each detector, white where it fires, and one for each layer's norm."""
    found = excerpt.found[row].T.astype(float)
    bands, names = [found], [f"z{layer}" for layer in range(1, len(found) + 1)]
    if excerpt.norms is not None:
        peak = np.nanmax(excerpt.norms, axis=0, initial=0.0)
        bands.append(np.nan_to_num(excerpt.norms / np.where(peak > 0, peak, 1.0))[row].T)
        names += [f"|h{layer}|" for layer in range(1, excerpt.norms.shape[1] + 1)]
    image = np.concatenate(bands)
    if len(image):
        axes.imshow(image, aspect="auto", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    for place, symbol in enumerate(excerpt.shown[row]):
        axes.text(place, -0.7, symbol, ha="center", va="bottom", fontsize=8, family="monospace", parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xticks([])
    axes.set_xlim(-0.5, ROW - 0.5)
    axes.set_frame_on(False)


def rate_curves(axes: Axes, rates: Rates) -> None:
    """Boundary rate against training step, a curve for each detector."""
    for layer, curve in enumerate(zip(*rates.rates, strict=True)):
        axes.plot(rates.steps, curve, color=COLOURS[layer % len(COLOURS)], label=f"layer {layer + 1}")
    axes.set(xlabel="training step", ylabel="boundary rate", ylim=(0, 1))
    axes.legend(fontsize=8)


def length_curves(axes: Axes, lengths: Sequence[Sequence[int]]) -> None:
    """Share of units of each length; the last place stands for all longer ones."""
    for layer, counts in enumerate(lengths):
        shares = np.array(counts[1:]) / max(1, sum(counts))
        axes.step(
            range(1, len(counts)), shares, where="mid", color=COLOURS[layer % len(COLOURS)], label=f"layer {layer + 1}"
        )
    longest = max((n for counts in lengths for n, count in enumerate(counts) if count), default=1)
    axes.set(xlabel="symbols in a unit", ylabel="share of units", xlim=(0, longest + 1))
    axes.legend(fontsize=8)


def f1_bars(axes: Axes, values: Mapping[str, Any], level: str) -> None:
    """F1 of each layer and baseline, at the offset that is quoted."""
    scored = [(f"{name}\n({offset})", cells[2]) for name, offset, cells in score_rows(values, level)]
    names, heights = [name for name, _ in scored], [height or 0.0 for _, height in scored]
    colours = [COLOURS[0] if name.startswith("layer") else "0.6" for name in names]
    bars = axes.bar(range(len(names)), heights, color=colours)
    axes.bar_label(bars, ["–" if height is None else f"{height:.2f}" for _, height in scored], fontsize=8)
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set(ylabel=f"F1 of {level}", ylim=(0, 1.1))
