"""The table as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lsseq.comparison.columns import sheet
from lsseq.comparison.group import Group, sections
from lsseq.comparison.row import Row

INTERVAL = (
    "In brackets behind a test figure its 95 % confidence interval, by a normal approximation over the means of blocks "
    "of the text (of a task, Wilson's over its answers): what the same model may have on other text of the kind. "
    "± is the standard deviation over n runs that differ in their seeds."
)


def text_table(groups: Sequence[Group]) -> str:
    """For a terminal: columns side by side, and below them what holds for all runs."""
    table = sheet(groups)
    grid = [[column.title for column in table.columns], *([_printable(cell) for cell in row] for row in table.cells)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column.number else cell.ljust(width)
            for cell, width, column in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in grid
    ]
    below = [*(["; ".join(table.common)] if table.common else []), *table.problems]
    if below:
        lines += ["", *map(_printable, below)]
    return "\n".join(lines)


def markdown(groups: Sequence[Group]) -> str:
    """A page with a table for each section, and under it what the runs are and how they were made."""
    lines = ["# Results", "", "Written by `lsseq compare` from run folders.", INTERVAL]
    for section, inside in sections(groups).items():
        lines += ["", f"## {_escaped(str(section))}", "", *_section(inside)]
    return "\n".join(lines) + "\n"


def csv_table(rows: Sequence[Row]) -> str:
    """The values of `--json` row by row; keys within others are joined by a dot, lists by a semicolon."""
    flat = [_flat(row.values()) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def _section(groups: Sequence[Group]) -> list[str]:
    table = sheet(groups)
    lines = [_line([column.title for column in table.columns])]
    lines.append(_line(["---:" if column.number else "---" for column in table.columns]))
    lines += [_line([_escaped(cell) for cell in row]) for row in table.cells]
    notes = [f"for all: {_escaped('; '.join(table.common))}"] if table.common else []
    notes += map(_escaped, table.problems)
    notes += dict.fromkeys(note for group in groups for note in _sources(group.first))
    commands = dict.fromkeys(row.environment.command for group in groups for row in group.rows)
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    if made := [command for command in commands if command]:
        lines += ["", "Made by:", "", *(f"    {_printable(command)}" for command in made)]
    return lines


def _sources(row: Row) -> list[str]:
    """Where published figures come from."""
    if row.published_by is None:
        return []
    stated = [one for one in row.published_by.published if one.metric == row.metric]
    return [
        _escaped(
            f"published for {row.published_by.name}: {one.value:g} {one.metric} on {one.split}"
            + (f" with {one.parameters:,} parameters" if one.parameters else "")
            + f", {one.source}"
            + (f" ({one.protocol})" if one.protocol else "")
        )
        for one in stated
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """What Markdown or HTML would take for markup is text."""
    return re.sub(r"([\\`*_\[\]<>|#&])", r"\\\1", _printable(text))


def _printable(text: str) -> str:
    """On one line, and nothing in it moves a cursor."""
    return "".join(symbol if symbol.isprintable() else "·" for symbol in text)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for number, inner in enumerate(value):
                flat |= _flat(inner, f"{prefix}{key}.{number}.")
        elif isinstance(value, list):
            flat[prefix + key] = ";".join(map(str, value))
        else:
            flat[prefix + key] = value
    return flat
