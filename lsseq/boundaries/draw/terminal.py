"""A text in the terminal: under it a row for each layer and each level of the gold, with a mark where a unit ends.

    the cat sat
    ..|...|..|.  1
    ......|....  2
    ..|...|...|  words

With colours the text also shows the highest layer that ends a unit. Without a terminal, or with NO_COLOR, the marks are
all there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from lsseq.boundaries.draw.excerpt import Excerpt

STYLES = ("black on cyan", "black on yellow", "black on magenta", "black on green")
"""Of the layers from the lowest; they repeat."""


def print_excerpt(excerpt: Excerpt, console: Console | None = None) -> None:
    """Print it to standard output, or to a console; lines are as wide as it is."""
    console = console or Console(highlight=False)
    for line in lines(excerpt, console.width):
        console.print(line, soft_wrap=True)


def lines(excerpt: Excerpt, width: int) -> Iterator[Text]:
    """The lines of the text, each followed by its rows and an empty line."""
    rows = [(str(layer), excerpt.found[:, layer - 1], style(layer)) for layer in range(1, excerpt.found.shape[1] + 1)]
    rows += [(level, ends, "reverse") for level, ends in excerpt.gold.items()]
    margin = max((2 + cell_len(name) for name, _, _ in rows), default=0)
    shown = [_visible(symbol) for symbol in excerpt.shown]
    levels = excerpt.levels
    for first, last in _stretches(excerpt, shown, max(1, width - margin)):
        text = Text()
        for t in range(first, last):
            text.append(shown[t], style(levels[t]))
        yield text
        for name, ends, colour in rows:
            row = Text()
            for t in range(first, last):
                row.append(" " * (cell_len(shown[t]) - 1))
                row.append("|" if ends[t] else ".", colour if ends[t] else "dim")
            yield row.append(f"  {name}", "dim")
        if rows:
            yield Text()


def style(level: int) -> str:
    """How a boundary of a layer, from 1, is coloured; 0 is none."""
    return STYLES[(level - 1) % len(STYLES)] if level else ""


def _visible(symbol: str) -> str:
    """A symbol of no width, such as an accent that joins the letter before it, stands on a dotted circle."""
    return symbol if cell_len(symbol) else f"◌{symbol}"


def _stretches(excerpt: Excerpt, shown: list[str], width: int) -> Iterator[tuple[int, int]]:
    """First symbol and the one after the last of each drawn line."""
    for first, end in pairwise([0, *excerpt.line_ends()]):
        start, used = first, 0
        for t in range(first, end):
            cells = cell_len(shown[t])
            if used + cells > width and t > start:
                yield start, t
                start, used = t, 0
            used += cells
        yield start, end
