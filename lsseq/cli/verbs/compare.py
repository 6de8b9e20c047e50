"""`lsseq compare`"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lsseq.cli.common import DRAWS, json_option, print_json, say
from lsseq.errors import LsseqError, RequestError

if TYPE_CHECKING:
    from lsseq.comparison import Group, Row
    from lsseq.comparison.held_out import Way
    from lsseq.comparison.row import Figures

SECONDS = 2.0
"""Between two looks of --watch."""


FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(
    short_help="A table of runs.",
    epilog="""\b
Examples:
  lsseq compare runs/lstm runs/zoneout
  lsseq compare runs --test --group --markdown results.md
  lsseq compare runs --test --samples 8 --dynamic
  lsseq compare runs/ptb-* --html compare.html --watch""",
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@click.option("--test", is_flag=True, help="Measure the test splits that were not; figures stay with their runs.")
@click.option(
    "--samples",
    type=DRAWS,
    metavar="K",
    help="Measure the mean over K draws of each run's noise on the test splits, too.",
)
@click.option("--dynamic", is_flag=True, help="Measure dynamic evaluation on the test splits, too.")
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
    samples: int | None,
    dynamic: bool,
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
    if watch and (test or samples or dynamic or as_json):
        others = "--test, --samples, --dynamic and --json"
        raise RequestError(f"--watch shows what is written to the run folders; it excludes {others}")
    for option, path in (("csv", csv), ("markdown", markdown), ("html", html)):
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"there is no folder `{path.parent}` for --{option}")

    from lsseq.comparison import grouped, ranked, single
    from lsseq.comparison.write import csv_table, text_table
    from lsseq.comparison.write import markdown as markdown_page

    def look(rows: Sequence[Row]) -> list[Group]:
        groups = ranked(grouped(rows) if group_seeds else single(rows))
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
    rows = [_measured(row, test, samples, dynamic) for row in _read(runs)]
    groups = look(rows)
    if as_json:
        values = {"rows": [row.values() for row in rows]}
        print_json(values | ({"groups": [group.values() for group in groups]} if group_seeds else {}))
    else:
        click.echo(text_table(groups))


def _read(runs: Sequence[str]) -> list[Row]:
    from lsseq.comparison import alike, find_runs, read_row

    return alike([read_row(path) for path in find_runs(runs)])


def _measured(row: Row, test: bool, samples: int | None, dynamic: bool) -> Row:
    """The row with the test figures that are asked for, where the run gives them."""
    if row.recipe is None or row.best is None or row.status not in ("finished", "stopped"):
        return row
    if test and row.test is None:
        row = replace(row, test=_measure(row, "deterministic", "measuring the test split"))
    if samples is not None and (row.samples or {}).get("samples") != samples:
        row = replace(row, samples=_measure(row, "samples", f"{samples} draws of the test split", samples))
    if dynamic and row.dynamic is None:
        row = replace(row, dynamic=_measure(row, "dynamic", "dynamic evaluation of the test split"))
    return row


def _measure(row: Row, way: Way, what: str, samples: int | None = None) -> Figures | None:
    """The figures, or None where there are none, which is said."""
    from lsseq.cli.memory import keep_freed_memory
    from lsseq.comparison.held_out import measure_test
    from lsseq.runs import RunFolder

    assert row.recipe is not None
    keep_freed_memory()
    say(f"{row.run}: {what}")
    try:
        return measure_test(RunFolder(row.run), row.recipe, way, samples)
    except LsseqError as error:
        say(f"note: {row.run} has no test figure: {error.message}")
        return None


def _watch(look: Callable[[], str]) -> None:
    shown = ""
    while True:
        if (table := look()) != shown:
            if sys.stdout.isatty():
                click.clear()
            click.echo(table if sys.stdout.isatty() else f"{table}\n")
            shown = table
        time.sleep(SECONDS)
