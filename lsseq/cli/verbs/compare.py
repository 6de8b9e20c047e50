"""`lsseq compare`"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lsseq.cli.common import json_option, print_json, say
from lsseq.errors import LsseqError, RequestError

if TYPE_CHECKING:
    from lsseq.comparison import Group, Row

SECONDS = 2.0
"""Between two looks of --watch."""


FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    short_help="A table of runs.",
    epilog="""\b
Examples:
  lsseq compare runs/lstm runs/zoneout
  lsseq compare runs --test --group --markdown results.md
  lsseq compare runs/ptb-* --html compare.html --watch""",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--test", is_flag=True, help="Measure the test splits that were not; figures stay with their runs.")
@click.option(
    "--group", "group_seeds", is_flag=True, help="Runs that differ in their seeds only on one line: mean ± sd."
)
@click.option("--csv", metavar="FILE", type=FILE, help="Write all values, a line for each run.")
@click.option("--markdown", metavar="FILE", type=FILE, help="Write tables for each corpus, with sources and commands.")
@click.option("--html", metavar="FILE", type=FILE, help="Write a page with learning curves.")
@click.option("--watch", is_flag=True, help="Show the table again whenever it has changed, until Ctrl-C.")
@json_option
def command(
    runs: tuple[str, ...],
    test: bool,
    group_seeds: bool,
    csv: Path | None,
    markdown: Path | None,
    html: Path | None,
    watch: bool,
    as_json: bool,
) -> None:
    """A table of runs: what they are, cost and achieve, beside published and expected figures.

    RUN is a run folder, its name under runs/, or a folder with runs in it.
    """
    if watch and (test or as_json):
        raise RequestError("--watch shows what is written to the run folders; it goes with neither --test nor --json")
    for option, path in (("csv", csv), ("markdown", markdown), ("html", html)):
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"there is no folder `{path.parent}` for --{option}")

    from lsseq.comparison import grouped, single
    from lsseq.comparison.write import csv_table, text_table
    from lsseq.comparison.write import markdown as markdown_page

    def look(rows: Sequence[Row]) -> list[Group]:
        groups = grouped(rows) if group_seeds else single(rows)
        if csv is not None:
            csv.write_text(csv_table(rows), encoding="utf-8")
        if markdown is not None:
            markdown.write_text(markdown_page(groups), encoding="utf-8")
        if html is not None:
            from lsseq.comparison.page import page

            html.write_text(page(groups, html.parent), encoding="utf-8")
        return groups

    if watch:
        _watch(lambda: text_table(look(_read(runs))))
        return
    rows = _read(runs, test=test)
    groups = look(rows)
    if as_json:
        values = {"rows": [row.values() for row in rows]}
        print_json(values | ({"groups": [group.values() for group in groups]} if group_seeds else {}))
    else:
        click.echo(text_table(groups))


def _read(runs: Sequence[str], *, test: bool = False) -> list[Row]:
    from lsseq.comparison import find_runs, read_row

    rows = [read_row(path) for path in find_runs(runs)]
    return [_tested(row) for row in rows] if test else rows


def _tested(row: Row) -> Row:
    """The row with its test figure, where the run gives one."""
    if row.test is not None or row.recipe is None or row.best is None or row.status not in ("finished", "stopped"):
        return row
    from lsseq.cli.memory import keep_freed_memory
    from lsseq.comparison.held_out import measure_test
    from lsseq.runs import RunFolder

    keep_freed_memory()
    say(f"{row.run}: measuring the test split")
    try:
        return replace(row, test=measure_test(RunFolder(row.run), row.recipe))
    except LsseqError as error:
        say(f"note: {row.run} has no test figure: {error.message}")
        return row


def _watch(look: Callable[[], str]) -> None:
    shown = ""
    while True:
        if (table := look()) != shown:
            if sys.stdout.isatty():
                click.clear()
            click.echo(table if sys.stdout.isatty() else f"{table}\n")
            shown = table
        time.sleep(SECONDS)
