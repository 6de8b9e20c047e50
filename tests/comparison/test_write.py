"""Tables as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from lsseq.comparison import Row, grouped, read_row, single
from lsseq.comparison.row import Environment
from lsseq.comparison.write import csv_table, markdown, text_table
from lsseq.recipe.schema import Recipe


@pytest.fixture(scope="module")
def rows(trained: Path) -> list[Row]:
    figures = {"nll": 4.1, "bpc": 6.0, "interval": {"bpc": [5.9, 6.125]}, "interval_method": "95 %"}
    rows = [read_row(trained / name) for name in ("hm", "lstm-1", "lstm-2")]
    return [rows[0], *(replace(row, test=figures) for row in rows[1:])]


def test_columns_stand_under_each_other_and_what_is_equal_below(rows: list[Row]) -> None:
    head, *lines = text_table(single(rows)).splitlines()
    assert head.split()[:2] == ["run", "recipe"]
    assert "machine" not in head
    assert "machine: " in lines[-1]
    assert "status: finished" in lines[-1]
    for line in lines[:3]:
        assert line[head.index("published") :].split()[0][0] in "16" or "hm" in line
    assert "6.000 bpc (5.900–6.125)" in lines[1]
    assert "1.27  6 ± 3 met" in lines[1]
    assert text_table(single(rows[:1])).count("\n") == 1
    longer = replace(rows[1], steps=7, recipe=with_expected_steps(rows[1], 6000))
    assert "6 ± 3 at 6,000 steps" in text_table(single([longer]))
    assert " met" not in text_table(single([longer]))


def with_expected_steps(row: Row, steps: int) -> Recipe:
    assert row.recipe is not None
    (one,) = row.recipe.expected
    return row.recipe.model_copy(update={"expected": [one.model_copy(update={"steps": steps})]})


def test_seeds_are_one_line_with_their_spread(rows: list[Row]) -> None:
    table = text_table(grouped(rows))
    assert f"{rows[1].run} and 1 more" in table
    assert "6.000 ± 0.000 bpc (n 2)" in table
    assert "1, 2" in table


def test_a_figure_of_some_of_the_seeds_says_of_how_many(rows: list[Row]) -> None:
    dynamic = replace(rows[1], dynamic={"bpc": 1.25})
    assert "1.250 bpc (n 1)" in text_table(grouped([dynamic, rows[2]]))
    assert "1.250 bpc (n" not in text_table(single([dynamic, rows[2]]))


def test_unfinished_and_damaged_runs_are_shown_as_such(rows: list[Row]) -> None:
    stopped = replace(rows[0], status="stopped", steps=3)
    damaged = replace(rows[1], status="damaged", problem="it holds no recipe.yaml", recipe=None)
    table = text_table(single([stopped, damaged, rows[2]]))
    assert "3 of 6" in table
    assert table.splitlines()[-1] == f"{damaged.run}: it holds no recipe.yaml"
    assert [line for line in table.splitlines() if " damaged " in line]
    bare = replace(
        damaged, lines=[], best=None, test=None, steps=None, epochs=None, seconds=None, environment=Environment()
    )
    assert "damaged" in text_table(single([bare]))


def test_nothing_in_a_name_moves_the_cursor(rows: list[Row]) -> None:
    table = text_table(single([replace(rows[0], run=Path("a\x1b[2J\rb"))]))
    assert "a·[2J·b" in table


def test_markdown_has_a_table_for_each_section_with_sources_and_commands(rows: list[Row]) -> None:
    command = "lsseq train tiny | `x`"
    other = replace(rows[0], recipe=None, run=Path("runs/a|b<script>_"), environment=Environment(command=command))
    page = markdown(grouped([*rows, other]))
    assert page.startswith("# Results\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == [
        "## own text small.txt: bpc",
        "## no recipe: bpc",
    ]
    assert "runs/a\\|b\\<script\\>\\_" in page
    assert "- published for tiny-lstm: 1.27 bpc on test with 4,260,000 parameters, A paper, table 1" in page
    assert f"    {command}" in page.splitlines()
    tables = [line for line in page.splitlines() if line.startswith("| ")]
    (columns,) = {line.replace("\\|", "").count("|") for line in tables[:4]}
    assert columns > 8
    assert page.count("confidence interval") == 1


def test_csv_holds_the_values_of_every_run(rows: list[Row]) -> None:
    read = list(csv.DictReader(io.StringIO(csv_table(rows))))
    assert [row["run"] for row in read] == [str(row.run) for row in rows]
    assert float(read[1]["test.bpc"]) == 6.0
    assert read[1]["test.interval.bpc"] == "5.9;6.125"
    assert read[1]["published.1.value"] == "1.27"
    assert read[0]["published.1.value"] == ""
    assert rows[0].best is not None
    assert float(read[0]["best.bpc"]) == rows[0].best["bpc"]
