"""The page is whole in itself, runs nothing that a run is called, and leads to the runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import BROWSER, show

from lsseq.comparison import grouped, read_row, single
from lsseq.comparison.page import page
from lsseq.comparison.row import Environment

EVIL = "<script>document.title='run'</script>\"><img src=x onerror=alert(1)>"


def test_a_page_of_runs(trained: Path, tmp_path: Path) -> None:
    rows = [read_row(trained / name) for name in ("hm", "lstm-1", "lstm-2")]
    written = page(grouped(rows), tmp_path)
    for title in (
        "own text small.txt: bpc",
        "by step",
        "by time",
        "against parameters",
        "against training time",
        "Boundary rate",
    ):
        assert title in written
    # A curve for each run and chart; of the boundary rates one of the one detector.
    assert written.count("<polyline") == 3 * 3 + 1
    # Seeds of a group look alike.
    assert written.count('<polyline class="s2"') == 2 * 3
    assert "nan" not in written
    assert "Boundary rate" not in page(single(rows[1:]), tmp_path)


def test_links_lead_to_the_runs(runs: Path) -> None:
    odd = runs / "a b#1%"
    shutil.copytree(runs / "hm", odd)
    written = page(single([read_row(odd), read_row(runs / "hm")]), runs.parent)
    links = set(re.findall(r'href="([^"]*)"', written))
    assert {(runs.parent / unquote(link)).resolve() for link in links} == {odd, runs / "hm"}


def test_nothing_is_fetched_and_names_are_text(trained: Path, tmp_path: Path) -> None:
    row = read_row(trained / "hm")
    assert row.recipe is not None
    evil = replace(
        row,
        run=Path(f"runs/{EVIL}"),
        recipe=row.recipe.model_copy(update={"name": EVIL}),
        environment=row.environment.model_copy(update={"machine": EVIL}),
        status="damaged",
        problem=EVIL,
    )
    written = page(single([evil, row]), tmp_path)
    assert "<script" not in written
    assert "<img" not in written
    assert not re.search(r"\b(?:https?:|//|url\(|@import|src=)", re.sub(r'href="[^"]*"|&lt;.*?&gt;', "", written))
    assert "default-src 'none'" in written
    assert all(not link.startswith(("http", "//", "javascript:")) for link in re.findall(r'href="([^"]*)"', written))


def test_runs_without_figures_make_a_page(trained: Path, tmp_path: Path) -> None:
    row = replace(read_row(trained / "hm"), lines=[], best=None, environment=Environment(), seconds=None)
    assert "<svg" not in page(single([row]), tmp_path)
    large = Environment(parameters=10)
    infinite = replace(row, best={"nll": 800.0, "perplexity": float("inf")}, environment=large, recipe=None)
    assert "<circle" not in page(single([infinite]), tmp_path)


def test_a_run_before_its_first_evaluation_is_drawn_beside_the_others(trained: Path, tmp_path: Path) -> None:
    row, other = read_row(trained / "hm"), read_row(trained / "lstm-1")
    young = replace(row, best=None, lines=[line for line in row.lines if line["split"] == "train"])
    written = page(single([other, young]), tmp_path)
    assert written.count("<h2>") == 1
    # Its loss in training and its boundary rate.
    assert written.count('<polyline class="s2"') == 2
    assert "own text small.txt: nll" in page(single([young]), tmp_path)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_shows_the_page_without_errors(trained: Path, tmp_path: Path) -> None:
    rows = [read_row(trained / name) for name in ("hm", "lstm-1", "lstm-2")]
    rows[0] = replace(rows[0], run=Path(f"runs/{EVIL}"))
    path = tmp_path / "page.html"
    path.write_text(page(single(rows), tmp_path), encoding="utf-8")
    shown: subprocess.CompletedProcess[str] = show(path, tmp_path / "page.png")
    assert "CONSOLE" not in shown.stderr
    assert "<title>Runs compared</title>" in shown.stdout
    assert "<img" not in shown.stdout
    assert shown.stdout.count("<polyline") == 10
