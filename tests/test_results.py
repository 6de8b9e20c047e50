"""docs/results.md is what `lsseq compare` writes of docs/runs, whose commands still train the same recipes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tiny_run import cli_in_process

from lsseq.comparison import Row, find_runs, read_row
from lsseq.recipe import load_recipe

DOCS = Path(__file__).parents[1] / "docs"
ROWS = {run.name: read_row(run) for run in find_runs([str(DOCS / "runs")])}


def test_the_table_is_made_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(DOCS)
    table = tmp_path / "results.md"
    cli_in_process(capsys)("compare", "runs", "--group", "--markdown", str(table))
    assert table.read_text(encoding="utf-8") == (DOCS / "results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_command_of_a_row_trains_its_recipe(row: Row) -> None:
    assert (row.status, row.problem) == ("finished", None)
    assert row.test is not None
    command = re.sub(r" --(run \S+|resume)", "", row.environment.command)
    program, verb, recipe, *changes = shlex.split(command)
    assert (program, verb) == ("lsseq", "train")
    assert load_recipe(recipe, changes).recipe == row.recipe
