"""A self-contained HTML page; all text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import numpy.typing as npt

from lsseq.boundaries.draw.curves import rate_curves
from lsseq.boundaries.draw.excerpt import Excerpt, Rates
from lsseq.boundaries.draw.style import STYLE
from lsseq.boundaries.draw.table import score_rows
from lsseq.webpage import document


def page(excerpt: Excerpt, values: Mapping[str, Any], *, title: str = "Boundaries", rates: Rates | None = None) -> str:
    """The page as text.

    Args:
        excerpt: the text that is drawn. A few thousand symbols make a page that opens at once.
        values: of the report, and perhaps `offsets`, in words where they were chosen; its table stands below the text.
        title: of the page.
        rates: of the training, where they are known.
    """
    parts = [f"<h1>{escape(title)}</h1>", *_summary(values)]
    if excerpt.symbols:
        parts += ["<h2>Text</h2>", *_legend(excerpt), _text(excerpt)]
        if rows := _rows(excerpt):
            parts += ["<h2>Layers</h2>", *_raster(excerpt, rows)]
    if rates is not None and len(rates.steps):
        parts += ["<h2>Rate over training</h2>", rate_curves(rates)]
    if "baselines" in values:
        parts += ["<h2>Scores</h2>", *_scores(values)]
    return document(title, STYLE, parts)


def number(value: float | None) -> str:
    """Three decimals; a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def _summary(values: Mapping[str, Any]) -> Iterator[str]:
    notes = [f"{values['characters']:,} symbols read."]
    if not values["layers"]:
        notes.append("The model has no detectors.")
    if "baselines" not in values:
        notes.append("The text does not tell where its units end, so nothing is scored.")
    yield f"<p>{' '.join(notes)}</p>"
    if not values["layers"]:
        return
    yield "<table><tr><th>layer<th>rate<th>mean length<th>compression<th>nesting</tr>"
    for index, layer in enumerate(values["layers"], start=1):
        nesting = number(layer["nesting"]) if "nesting" in layer else ""
        cells = [number(layer[key]) for key in ("rate", "mean_length", "compression")]
        yield f"<tr><th>{index}" + "".join(f"<td>{cell}" for cell in [*cells, nesting]) + "</tr>"
    yield "</table>"


def _legend(excerpt: Excerpt) -> Iterator[str]:
    layers = range(1, excerpt.found.shape[1] + 1)
    told = "Point at a symbol for its " + ("probabilities and surprisal." if layers else "surprisal.")
    if layers:
        marks = " ".join(f'<span class="{_colour("l", layer)}">layer {layer}</span>' for layer in layers)
        told = f"A unit ends after a coloured symbol, of the highest layer: {marks} {told}"
    yield f'<p class="note">{told}</p>'


def _colour(kind: str, layer: int) -> str:
    """The class of a layer, from 1: `l` behind text, `m` as a mark."""
    return f"{kind}{(layer - 1) % 4 + 1}"


def _text(excerpt: Excerpt) -> str:
    lines = (
        "".join(_symbol(excerpt, t) for t in range(first, last)) for first, last in pairwise([0, *excerpt.line_ends()])
    )
    return '<p class="text">' + "<br>".join(lines) + "</p>"


def _symbol(excerpt: Excerpt, t: int) -> str:
    level = int(excerpt.levels[t])
    names = [_colour("l", level)] if level else []
    if excerpt.shown[t] != excerpt.symbols[t]:
        names.append("x")
    name = f' class="{" ".join(names)}"' if names else ""
    return f'<span{name} data-t="{escape(_hover(excerpt, t))}">{escape(excerpt.shown[t])}</span>'


def _hover(excerpt: Excerpt, t: int) -> str:
    notes = [excerpt.shown[t]]
    if excerpt.probability is not None:
        notes += [f"p{layer} = {value:.3f}" for layer, value in enumerate(excerpt.probability[t].tolist(), start=1)]
    if excerpt.surprisal is not None:
        notes.append(f"{excerpt.surprisal[t] / log(2):.2f} bits")
    notes += [f"end of {level}" for level, ends in excerpt.gold.items() if ends[t]]
    return " · ".join(notes)


def _rows(excerpt: Excerpt) -> list[tuple[str, str, npt.NDArray[np.floating]]]:
    """Name, class of the cells, and (T,) strengths of each row of the raster."""
    rows = [
        (f"layer {layer}", _colour("m", layer), ends.astype(float))
        for layer, ends in enumerate(excerpt.found.T, start=1)
    ]
    rows += [(level, "g", ends.astype(float)) for level, ends in excerpt.gold.items()]
    rows += [(f"|h{layer}|", _colour("m", layer), heat) for layer, heat in enumerate(excerpt.heat.T, start=1)]
    return rows


def _raster(excerpt: Excerpt, rows: list[tuple[str, str, npt.NDArray[np.floating]]]) -> Iterator[str]:
    """A column for each symbol: the symbol and a cell for each row. The first column names the rows."""
    told = ["Under each symbol a row for each detector, filled where a unit ends"]
    if excerpt.gold:
        told.append("a grey row for where one truly ends")
    if excerpt.norms is not None:
        told.append("|h|, the norm of a layer's hidden state, from its least here (empty) to its greatest (full)")
    keys = "".join(f"<i>{escape(name)}</i>" for name, _, _ in rows)
    yield f'<p class="note">{"; ".join(told)}.</p><div class="raster"><span class="key"><b> </b>{keys}</span>'
    for t, symbol in enumerate(excerpt.shown):
        cells = "".join(_cell(colour, float(strength[t])) for _, colour, strength in rows)
        yield f'<span data-t="{escape(_hover(excerpt, t))}"><b>{escape(symbol)}</b>{cells}</span>'
    yield "</div>"


def _cell(colour: str, strength: float) -> str:
    """Empty at 0, full at 1."""
    if strength < 0.005:
        return "<i></i>"
    return f'<i class="{colour}"></i>' if strength == 1 else f'<i class="{colour}" style="opacity:{strength:.2f}"></i>'


def _scores(values: Mapping[str, Any]) -> Iterator[str]:
    chosen = f", {values['offsets']}" if "offsets" in values else ""
    yield f'<p class="note">Each detector at its best offset{escape(chosen)}; at -1 it fires one symbol late.</p>'
    for level in values["gold"]:
        yield f"<h3>{escape(level)}</h3><table><tr><th>detector"
        yield "<th>offset<th>precision<th>recall<th>F1<th>R-value<th>over-segmentation"
        yield "<th>token F1<th>type F1<th>average precision</tr>"
        for name, offset, cells in score_rows(values, level):
            row = '<tr class="layer">' if name.startswith("layer ") else "<tr>"
            yield f"{row}<th>{escape(name)}<td>{offset}" + "".join(f"<td>{number(cell)}" for cell in cells) + "</tr>"
        yield "</table>"
