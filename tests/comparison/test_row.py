"""What is read of finished, unfinished, damaged and empty run folders."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from trained_runs import contents, train_tiny

from lsseq.comparison import Group, read_row
from lsseq.comparison.held_out import measure_test
from lsseq.comparison.write import markdown
from lsseq.recipe import load_recipe
from lsseq.recipe.schema.data import HubDataset, TextSplits
from lsseq.runs import RunFolder


def test_a_finished_run_tells_what_its_training_told(tmp_path: Path, small_text: Path) -> None:
    result = train_tiny(tmp_path / "run", small_text)
    row = read_row(tmp_path / "run")
    assert (row.status, row.problem) == ("finished", None)
    assert (row.steps, row.epochs, row.parameters) == (result.steps, result.epochs, result.parameters)
    assert row.best == result.best
    # The last save takes time itself, which is in the result and not in the checkpoint.
    assert row.seconds == pytest.approx(result.seconds, abs=2.0)
    assert row.tokens_per_second is not None
    assert result.tokens_per_second <= 1.001 * row.tokens_per_second
    assert row.metric == "bpc"
    assert (row.seed, row.corpus) == (1, "own text small.txt")


def test_values_for_scripts(trained: Path) -> None:
    values = read_row(trained / "lstm-2").values()
    assert (values["recipe"], values["status"], values["seed"]) == ("tiny-lstm", "finished", 2)
    assert [one["value"] for one in values["published"]] == [1.4, 1.27]
    assert values["expected"][0]["tolerance"] == 3.0
    assert values["device"] == "cpu"
    assert values["machine"]
    assert "problem" not in values
    assert "boundary_rate" not in values
    assert len(read_row(trained / "hm").values()["boundary_rate"]) == 1


def test_a_budget_recipe_stands_beside_the_published_figures_of_its_method(tmp_path: Path, small_text: Path) -> None:
    name = "ptb-char-budget-deep-zoneout-lstm"
    train_tiny(tmp_path / "run", small_text, "model.zoneout.cell=0.05", name=name)
    row = read_row(tmp_path / "run")
    full = load_recipe("ptb-char/zoneout-lstm").recipe
    assert row.values()["published"] == [one.model_dump(exclude_none=True) for one in full.published]
    page = markdown([Group([row])])
    assert f"published for {full.name}: 1.27 bpc on test" in page


def test_weights_need_not_be_there(runs: Path) -> None:
    run = runs / "lstm-1"
    recipe = read_row(run).recipe
    assert recipe is not None
    figures = measure_test(RunFolder(run), recipe)
    whole = read_row(run)
    weights = list(run.rglob("*.safetensors"))
    assert weights
    for file in weights:
        file.unlink()
    assert read_row(run) == whole
    assert (whole.status, whole.test) == ("finished", figures)


def test_a_run_before_its_first_step(runs: Path) -> None:
    run = runs / "lstm-1"
    for name in ("metrics.jsonl", "checkpoints/best/checkpoint.json", "checkpoints/last/checkpoint.json"):
        (run / name).unlink()
    row = read_row(run)
    assert (row.status, row.steps, row.best, row.metric) == ("stopped", None, None, None)
    assert row.seed == 1


def test_a_run_that_goes_on_is_running_and_stopped_when_its_process_is_gone(runs: Path) -> None:
    run = runs / "lstm-1"
    (run / "checkpoints/last/checkpoint.json").unlink()
    with RunFolder.claim(run, resume=True):
        assert read_row(run).status == "running"
    row = read_row(run)
    assert row.status == "stopped"
    # What was logged since the checkpoint counts.
    assert row.steps == 6
    assert row.best == read_row(runs.parent / "runs" / "lstm-1").best


def test_the_newest_figures_come_from_the_lines(runs: Path) -> None:
    line = {"step": 8, "epoch": 3, "split": "valid", "nll": 0.5, "bpc": 0.7, "seconds": 99.0}
    with (runs / "hm/metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n" + '{"step": 9, "spl')
    row = read_row(runs / "hm")
    assert (row.steps, row.epochs, row.seconds, row.problem) == (8, 3, 99.0, None)
    assert row.best == {"step": 8, "nll": 0.5, "bpc": 0.7}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def add(run: Path, figures: dict[str, object]) -> None:
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 3, "epoch": 0, "split": "train", **figures}) + "\n")


def one(run: Path, pattern: str) -> Path:
    (found,) = run.glob(pattern)
    return found


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no recipe": (lambda run: (run / "recipe.yaml").unlink(), "recipe.yaml"),
    "broken recipe": (
        lambda run: (run / "recipe.yaml").write_text("hiden: 3\ntraining: {steps: 1}\n"),
        "hiden",
    ),
    "cut recipe": (
        lambda run: (run / "recipe.yaml").write_text("name: x\ndata:\n"),
        "key `training` (recipe.yaml)",
    ),
    "line of metrics": (lambda run: (run / "metrics.jsonl").write_text("{}\n[1]\n{}\n"), "metrics.jsonl:2"),
    "step of metrics": (lambda run: (run / "metrics.jsonl").write_text('{"split": "train"}\n'), "metrics.jsonl"),
    "number of a step": (lambda run: edit(run / "metrics.jsonl", '"step": 2', '"step": "2"'), "metrics.jsonl"),
    "figure of metrics": (lambda run: edit(run / "metrics.jsonl", '"nll": ', '"nll": "x", "old": '), "metrics.jsonl"),
    "list for a figure": (lambda run: edit(run / "metrics.jsonl", '"nll": ', '"nll": [1], "old": '), "metrics.jsonl"),
    "list for seconds": (
        lambda run: edit(run / "metrics.jsonl", '"seconds": ', '"seconds": [1.0], "old": '),
        "metrics.jsonl",
    ),
    "rates that are no list": (lambda run: add(run, {"boundary_rate": 2}), "metrics.jsonl"),
    "rates of other layers": (
        lambda run: (add(run, {"boundary_rate": [0.5]}), add(run, {"boundary_rate": [0.5, 0.2]})),
        "metrics.jsonl",
    ),
    "deep metrics": (lambda run: edit(run / "metrics.jsonl", '"nll": ', '"nll": ' + "[" * 9999), "metrics.jsonl"),
    "environment": (lambda run: (run / "environment.json").write_text("[]"), "environment.json"),
    "environment of other kinds": (
        lambda run: edit(run / "environment.json", '"parameters": ', '"parameters": [], "old": '),
        "environment.json",
    ),
    "back ends that are no list": (
        lambda run: edit(run / "environment.json", '"back_ends": ', '"back_ends": 5, "old": '),
        "environment.json",
    ),
    "no back ends": (
        lambda run: edit(run / "environment.json", '"back_ends": ', '"back_ends": null, "old": '),
        "environment.json",
    ),
    "binary environment": (lambda run: (run / "environment.json").write_bytes(b"\xff"), "environment.json"),
    "no values": (lambda run: one(run, "checkpoints/last/values-*").unlink(), "values-"),
    "values": (lambda run: cut(one(run, "checkpoints/last/values-*")), "values-"),
    "manifest": (lambda run: cut(run / "checkpoints/best/checkpoint.json"), "checkpoint.json"),
}


def test_rates_that_several_processes_added_up_are_a_little_above_one(runs: Path) -> None:
    add(runs / "lstm-1", {"boundary_rate": [1.0000001]})
    assert read_row(runs / "lstm-1").rates == [(3, [1.0000001])]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_shown_beside_what_can_be_read(runs: Path, damage: str) -> None:
    run = runs / "lstm-1"
    harm, told = DAMAGES[damage]
    harm(run)
    before = contents(run)
    row = read_row(run)
    assert row.status == "damaged"
    assert row.problem is not None
    assert told in row.problem
    assert row.best is not None
    assert math.isfinite(row.best["nll"])
    assert row.values()["problem"] == row.problem
    assert contents(run) == before


def test_what_was_expected_is_met_or_not_at_as_many_steps_only(runs: Path) -> None:
    from dataclasses import replace

    row = read_row(runs / "lstm-1")
    assert row.met is None
    assert replace(row, test={"bpc": 5.0}).met is True
    assert replace(row, test={"bpc": 9.5}).met is False
    assert row.recipe is not None
    other = row.recipe.expected[0].model_copy(update={"steps": 7})
    recipe = row.recipe.model_copy(update={"expected": [other]})
    assert replace(row, recipe=recipe, test={"bpc": 9.5}).met is None


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        ({"text": ["books/a.txt", "books/b.txt"]}, "own text a.txt"),
        ({"text": []}, "own text "),
        ({"text": TextSplits(train="x/train.txt", valid="x/valid.txt")}, "own text train.txt"),
        ({"text": None, "dataset": HubDataset(name="wikitext")}, "data set wikitext"),
        ({"text": None, "corpus": "ptb"}, "ptb"),
    ],
)
def test_texts_are_told_apart(trained: Path, sources: dict[str, object], name: str) -> None:
    row = read_row(trained / "lstm-1")
    assert row.recipe is not None
    data = row.recipe.data.model_copy(update=sources)
    assert replace(row, recipe=row.recipe.model_copy(update={"data": data})).corpus == name
