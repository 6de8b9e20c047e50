"""A self-contained HTML page: nothing is fetched, no script is run, all text is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from itertools import pairwise
from math import log
from typing import Any

import numpy as np

from lsseq.boundaries.draw.curves import rate_curves
from lsseq.boundaries.draw.excerpt import Excerpt, Rates
from lsseq.boundaries.draw.style import STYLE
from lsseq.boundaries.draw.table import score_rows


def page(excerpt: Excerpt, values: Mapping[str, Any], *, title: str = "Boundaries", rates: Rates | None = None) -> str:
    """The page as text.

    Args:
        excerpt: the text that is drawn. A few thousand symbols make a page that opens at once.
        values: of the report; its table stands below the text.
        title: of the page.
        rates: of the training, where they are known.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        *_summary(values),
        "<h2>Text</h2>",
        *_legend(excerpt.found.shape[1]),
        _text(excerpt),
    ]
    if excerpt.found.shape[1] or excerpt.norms is not None:
        parts += ["<h2>Layers</h2>", *_raster(excerpt)]
    if rates is not None and len(rates.steps):
        parts += ["<h2>Rate over training</h2>", rate_curves(rates)]
    if "baselines" in values:
        parts += ["<h2>Scores</h2>", *_scores(values)]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            *parts,
            "</main>\n</body>\n</html>\n",
        ]
    )


def number(value: float | None) -> str:
    """Three decimals; a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def _summary(values: Mapping[str, Any]) -> Iterator[str]:
    yield f"<p>{values['characters']:,} symbols read.</p>"
    if not values["layers"]:
        return
    yield "<table><tr><th>layer<th>rate<th>mean length<th>compression<th>nesting</tr>"
    for index, layer in enumerate(values["layers"], start=1):
        nesting = number(layer["nesting"]) if "nesting" in layer else ""
        cells = [number(layer[key]) for key in ("rate", "mean_length", "compression")]
        yield f"<tr><th>{index}" + "".join(f"<td>{cell}" for cell in [*cells, nesting]) + "</tr>"
    yield "</table>"


def _legend(layers: int) -> Iterator[str]:
    if layers:
        marks = " ".join(f'<span class="l{(layer - 1) % 4 + 1}">layer {layer}</span>' for layer in range(1, layers + 1))
        yield f'<p class="legend">A unit ends after a coloured symbol, of the highest layer: {marks}</p>'


def _text(excerpt: Excerpt) -> str:
    lines = (
        "".join(_symbol(excerpt, t) for t in range(first, last)) for first, last in pairwise([0, *excerpt.line_ends()])
    )
    return '<p class="text">' + "<br>".join(lines) + "</p>"


def _symbol(excerpt: Excerpt, t: int) -> str:
    level = int(excerpt.levels[t])
    name = f' class="l{(level - 1) % 4 + 1}"' if level else ""
    return f'<span{name} title="{escape(_hover(excerpt, t))}">{escape(excerpt.shown[t])}</span>'


def _hover(excerpt: Excerpt, t: int) -> str:
    notes = [excerpt.shown[t]]
    if excerpt.probability is not None:
        notes += [f"p{layer} = {value:.3f}" for layer, value in enumerate(excerpt.probability[t].tolist(), start=1)]
    if excerpt.surprisal is not None:
        notes.append(f"{excerpt.surprisal[t] / log(2):.2f} bits")
    return " · ".join(notes)


def _raster(excerpt: Excerpt) -> Iterator[str]:
    """A column for each symbol: the symbol, a cell for each detector from the lowest, a cell for each norm."""
    rows = "Under each symbol a row for each detector from the lowest, filled where it fires"
    heat = np.zeros((len(excerpt.symbols), 0))
    if excerpt.norms is not None:
        peak = np.nanmax(excerpt.norms, axis=0, initial=0.0)
        heat = np.nan_to_num(excerpt.norms / np.where(peak > 0, peak, 1.0))
        rows += "; then a row for the norm of each layer's hidden state, strongest at its maximum"
    yield f'<p class="legend">{rows}.</p><div class="raster">'
    for t, symbol in enumerate(excerpt.shown):
        cells = "".join(
            f'<i class="l{layer % 4 + 1}"></i>' if fires else "<i></i>" for layer, fires in enumerate(excerpt.found[t])
        )
        cells += "".join(f'<i class="n" style="opacity:{value:.2f}"></i>' for value in heat[t].tolist())
        yield f'<span title="{escape(_hover(excerpt, t))}"><b>{escape(symbol)}</b>{cells}</span>'
    yield "</div>"


def _scores(values: Mapping[str, Any]) -> Iterator[str]:
    for level in values["gold"]:
        yield f"<h3>{escape(level)}</h3><table><tr><th>detector"
        yield "<th>offset<th>precision<th>recall<th>F1<th>R-value<th>over-segmentation"
        yield "<th>token F1<th>type F1<th>average precision</tr>"
        for name, offset, cells in score_rows(values, level):
            yield f"<tr><th>{escape(name)}<td>{offset}" + "".join(f"<td>{number(cell)}" for cell in cells) + "</tr>"
        yield "</table>"
