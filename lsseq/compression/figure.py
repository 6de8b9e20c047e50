"""Loss against rank, and singular values, as one PNG file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsseq.boundaries.draw.figures import COLOURS, GREY, new_figure
from lsseq.nn.low_rank import Spectrum
from lsseq.training.progress import headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", "--", ":", "-.")
"""Of the gates of a layer; the layers have colours."""


def save_figure(path: Path, spectra: Sequence[Spectrum], values: Mapping[str, Any]) -> None:
    """Write the figure: the singular values, and where there are ranks the loss against the rank.

    Args:
        path: the file.
        spectra: of the dense model.
        values: those of `lsseq compress --json`.

    Raises:
        RequestError: matplotlib is not installed.
    """
    rows = values.get("ranks", [])
    drawing = new_figure(12 if rows else 6, 4)
    left, *right = drawing.subplots(1, 2 if rows else 1, squeeze=False)[0]
    _spectra(left, spectra)
    for axes in right:
        _losses(axes, values["dense"], rows)
    drawing.savefig(path, format="png", dpi=150, metadata={"Software": None})


def _spectra(axes: Axes, spectra: Sequence[Spectrum]) -> None:
    """Singular values over the largest of the gate, against their number."""
    gates = list(dict.fromkeys(spectrum.gate for spectrum in spectra))
    for spectrum in spectra:
        axes.semilogy(
            range(1, len(spectrum.values) + 1),
            spectrum.values / spectrum.values[0],
            color=COLOURS[(spectrum.layer - 1) % len(COLOURS)],
            linestyle=DASHES[gates.index(spectrum.gate) % len(DASHES)],
            label=f"layer {spectrum.layer}, {spectrum.gate}",
        )
    axes.set(xlabel="number", ylabel="singular value over the largest", ylim=(1e-3, 1.5))
    _finish(axes)


def _losses(axes: Axes, dense: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    figure, _ = headline(dict(dense)).split()
    for name, colour in (("truncated", COLOURS[0]), ("tuned", COLOURS[2])):
        points = [(row["rank"], row[name][figure]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
    axes.axhline(dense[figure], color=GREY, linestyle="--", label="dense")
    axes.set(xlabel="rank", ylabel=figure)
    axes.set_xscale("log", base=2)
    ranks = [row["rank"] for row in rows]
    axes.set_xticks(ranks, [str(rank) for rank in ranks])
    axes.minorticks_off()
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.legend(fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
