"""Runs are found by path, by name, and below folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsseq.comparison import find_runs
from lsseq.errors import RequestError


def make(*paths: str) -> None:
    for path in paths:
        Path(path).mkdir(parents=True)
        Path(path, "recipe.yaml").write_text("name: x\n", encoding="utf-8")


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_order_is_that_of_the_arguments_and_below_a_folder_that_of_names() -> None:
    make("runs/b", "runs/a", "runs/sweep/2", "runs/sweep/1", "other/z")
    found = find_runs(["other/z", "runs"])
    assert found == [Path(path) for path in ("other/z", "runs/a", "runs/b", "runs/sweep/1", "runs/sweep/2")]


def test_a_run_that_is_named_twice_is_one() -> None:
    make("runs/a", "runs/b")
    assert find_runs(["b", "runs", "runs/a/"]) == [Path("runs/b"), Path("runs/a")]


def test_a_run_that_lost_its_recipe_is_found_and_other_folders_are_not() -> None:
    make("runs/a")
    for path in ("runs/lost", "runs/notes", "runs/.hidden"):
        Path(path).mkdir()
    Path("runs/lost/metrics.jsonl").touch()
    Path("runs/.hidden/metrics.jsonl").touch()
    Path("runs/notes/read.me").touch()
    Path("runs/circle").symlink_to(Path("runs").resolve())
    assert find_runs(["runs"]) == [Path("runs/a"), Path("runs/lost")]


def test_a_folder_of_runs_is_found_by_its_name() -> None:
    make("runs/sweep/trials/0")
    assert find_runs(["sweep"]) == [Path("runs/sweep/trials/0")]


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_where_no_run_is_the_runs_that_exist_are_named(name: str) -> None:
    make("runs/first")
    Path("empty").mkdir()
    with pytest.raises(RequestError, match="first") as error:
        find_runs([name])
    assert f"`{name}`" in error.value.message
