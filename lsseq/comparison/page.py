"""The comparison as a self-contained HTML page; all text is escaped."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lsseq.comparison.charts import Series, curves, key, scatter
from lsseq.comparison.columns import sheet
from lsseq.comparison.group import Group, sections
from lsseq.comparison.row import Row
from lsseq.comparison.write import INTERVAL
from lsseq.webpage import document

STYLE = """
:root { --m5: #7a4fc4; --m6: #b5452c; --m7: #00796b; --m8: #6b6b74; }
@media (prefers-color-scheme: dark) { :root { --m5: #a98bea; --m6: #ec7d62; --m7: #3dbfae; --m8: #a4a4ae; } }
main { max-width: 82rem; }
a { color: inherit; }
td { white-space: nowrap; }
.text { text-align: left; }
figure { margin: 0; }
tr.damaged, tr.damaged a { color: var(--m3); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem; }
.charts h3 { margin-bottom: 0; }
.keys { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .9rem; overflow-wrap: anywhere; }
svg.key { width: 24px; height: 10px; margin-right: .4rem; }
svg path.grid { stroke: var(--line); }
svg path:not(.grid) { fill: none; stroke-width: 2.5; }
""" + "".join(
    f".s{n} {{ stroke: var(--m{n}); }} svg path.s{n} {{ stroke: var(--m{n}); }} "
    f"circle.s{n} {{ fill: var(--m{n}); stroke: var(--paper); }} "
    f"circle.s{n}.open {{ fill: none; stroke: var(--m{n}); stroke-width: 2; }}\n"
    for n in range(1, 9)
)


def page(groups: Sequence[Group], beside: Path) -> str:
    """The page as text.

    Args:
        groups: the lines of the table. Runs of one group are drawn alike.
        beside: the folder in which the page will lie; links to runs are relative to it.
    """
    parts = ["<h1>Runs compared</h1>", *_table(groups, beside)]
    styles = {id(group): style for style, group in enumerate(groups)}
    for section, inside in sections(groups).items():
        # One that was not evaluated yet has its loss in training to show beside the others.
        shown = [(styles[id(group)], row) for group in inside for row in group.rows if row.metric or row.lines]
        if shown:
            metric = section.metric or "nll"
            title = str(section._replace(metric=metric))
            parts += [f"<h2>{escape(title)}</h2>", _keys(shown, beside), *_charts(shown, metric)]
    return document("Runs compared", STYLE, parts)


def _table(groups: Sequence[Group], beside: Path) -> Iterator[str]:
    table = sheet(groups)
    kinds = ["" if column.number else ' class="text"' for column in table.columns]
    heads = "".join(f"<th{kind}>{escape(column.title)}" for column, kind in zip(table.columns, kinds, strict=True))
    yield f"<table><tr>{heads}</tr>"
    for group, cells in zip(groups, table.cells, strict=True):
        rest = "".join(f"<td{kind}>{escape(cell)}" for cell, kind in zip(cells[1:], kinds[1:], strict=True))
        marked = ' class="damaged"' if group.first.status == "damaged" else ""
        yield f"<tr{marked}><th>{_links(group, cells[0], beside)}{rest}</tr>"
    yield "</table>"
    if table.common:
        yield f'<p class="note">For all: {escape("; ".join(table.common))}.</p>'
    yield from (f'<p class="note">{escape(problem)}</p>' for problem in table.problems)
    yield f'<p class="note">{escape(INTERVAL)}</p>'


def _links(group: Group, text: str, beside: Path) -> str:
    if len(group.rows) == 1:
        return f'<a href="{escape(_link(group.first, beside))}">{escape(text)}</a>'
    seeds = " ".join(f'<a href="{escape(_link(row, beside))}">{row.seed}</a>' for row in group.rows)
    return f"{escape(text)}: {seeds}"


def _link(row: Row, beside: Path) -> str:
    return quote(Path(os.path.relpath(row.run, beside)).as_posix()) + "/"


def _keys(drawn: Sequence[tuple[int, Row]], beside: Path) -> str:
    entries = [key(str(row.run), style, _link(row, beside)) for style, row in drawn]
    return f'<p class="keys">{"".join(entries)}</p>'


def _charts(drawn: Sequence[tuple[int, Row]], metric: str) -> Iterator[str]:
    """Each chart for which there is a point."""
    unit, size = _time_unit([row.seconds or 0.0 for _, row in drawn])
    time = f"training time ({unit})"
    valid = [(style, row, [line for line in row.lines if line["split"] == "valid"]) for style, row in drawn]
    by_step = [Series(str(row.run), style, _points(lines, "step", metric)) for style, row, lines in valid]
    by_time = [Series(str(row.run), style, _points(lines, "seconds", metric, size)) for style, row, lines in valid]
    best = [(style, row, row.best_figure()) for style, row in drawn]
    loss = "mse" if metric == "mse" else "nll"
    trained = [
        Series(str(row.run), style, _points([one for one in row.lines if one["split"] == "train"], "step", loss))
        for style, row in drawn
    ]
    rates = [
        Series(f"{row.run}, layer {layer + 1}", style, [(t, r[layer]) for t, r in row.rates if _is_number(r[layer])])
        for style, row in drawn
        if row.rates
        for layer in range(len(row.rates[0][1]))
    ]
    yield '<div class="charts">'
    for title, draw, series, x, y in (
        ("Valid by step", curves, by_step, "step", metric),
        ("Valid by time", curves, by_time, time, metric),
        ("Loss in training, the mean since the line before", curves, trained, "step", loss),
        ("Best valid against parameters", scatter, _dots(best, lambda row: row.parameters), "parameters", metric),
        (
            "Best valid against training time",
            scatter,
            _dots(best, lambda row: None if row.seconds is None else row.seconds / size),
            time,
            metric,
        ),
        ("Boundary rate", curves, rates, "step", "boundary rate"),
    ):
        if shown := [one for one in series if one.points]:
            yield f"<figure><h3>{escape(title)}</h3>{draw(shown, x, y)}</figure>"
    yield "</div>"


def _points(lines: Sequence[Any], x: str, y: str, size: float = 1.0) -> list[tuple[float, float]]:
    return [(line[x] / size, line[y]) for line in lines if _is_number(line.get(x)) and _is_number(line.get(y))]


def _dots(best: Sequence[tuple[int, Row, float | None]], across: Callable[[Row], float | None]) -> list[Series]:
    """A point for each run; none where it would have no place on a logarithmic axis."""
    series = []
    for style, row, figure in best:
        x = across(row)
        if x is not None and x > 0 and figure is not None and _is_number(figure):
            series.append(Series(str(row.run), style, [(x, figure)]))
    return series


def _is_number(value: object) -> bool:
    """What a chart has a place for."""
    return isinstance(value, (int, float)) and abs(value) < 1e100


def _time_unit(seconds: Sequence[float]) -> tuple[str, float]:
    """What times are counted in: its name, and its seconds."""
    longest = max(seconds)
    return ("h", 3600.0) if longest > 7200 else ("min", 60.0) if longest > 120 else ("s", 1.0)
