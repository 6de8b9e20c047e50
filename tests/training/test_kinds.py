"""Saved values of other kinds, or of no training, are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trained_runs import train_tiny

from lsseq.errors import RunError
from lsseq.recipe import load_recipe
from lsseq.runs import read_checkpoint, write_checkpoint
from lsseq.training.kinds import require_kinds
from lsseq.training.session import train_recipe

OWN: dict[str, Any] = {"a": 1, "b": {"c": 0.5, "d": "x", "e": None}, "f": [1], "g": False}


@pytest.mark.parametrize(
    "saved",
    [
        OWN,
        {"a": 2, "b": {"c": 1, "e": {"h": 1}}, "f": [], "g": True},
        {"other": 3},
        {},
    ],
)
def test_the_same_kinds(saved: dict[str, Any]) -> None:
    require_kinds(OWN, saved, "loop")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"a": "1"}, "loop.a is no int"),
        ({"a": True}, "loop.a is no int"),
        ({"a": None}, "loop.a is no int"),
        ({"a": 1.5}, "loop.a is no int"),
        ({"a": -1}, "loop.a is below zero"),
        ({"b": []}, "loop.b is no dict"),
        ({"b": {"d": 1}}, "loop.b.d is no str"),
        ({"f": {}}, "loop.f is no list"),
        ({"g": 0}, "loop.g is no bool"),
        ([], "loop is no dict"),
    ],
)
def test_other_kinds(saved: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_kinds(OWN, saved, "loop")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("windows", "offset"), "0", "loop.windows.offset is no int"),
        (("windows", "offset"), 10**9, "no window begins at"),
        (("line_position", "offset"), 10**9, "no window begins at"),
        (("meter", "since"), [1.0], "loop.meter.since is no float"),
        (("schedule", "patience"), 3, "loop.schedule.patience is no dict"),
        (("schedule", "falls"), -(10**9), "loop.schedule.falls is below zero"),
        (("averaging", "history"), [1.0, "x"], "could not convert"),
        (("skips",), {"": 1}, "unexpected keyword"),
        (("latest",), {"step": 3}, "an evaluation without `nll`"),
        (("lr",), None, "loop.lr is no float"),
    ],
)
def test_a_run_with_other_values_does_not_go_on(
    place: tuple[str, ...], value: object, message: str, tmp_path: Path, small_text: Path
) -> None:
    run = tmp_path / "run"
    train_tiny(run, small_text)
    tensors, values = read_checkpoint(run / "checkpoints" / "last", ["weights", "training"])
    holder = values["loop"]
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    write_checkpoint(run / "checkpoints" / "last", tensors, json.loads(json.dumps(values)))
    with pytest.raises(RunError, match=f"does not fit its recipe: .*{message}"):
        train_recipe(load_recipe(run / "recipe.yaml", ["training.steps=8"]), run, resume=True)


@pytest.mark.parametrize("name", ["recurrent", "optimizer.0.exp_avg"])
def test_a_run_with_tensors_of_other_shapes_does_not_go_on(name: str, tmp_path: Path, small_text: Path) -> None:
    run = tmp_path / "run"
    train_tiny(run, small_text)
    tensors, values = read_checkpoint(run / "checkpoints" / "last", ["weights", "training"])
    changed = [key for key in tensors["training"] if key.startswith(name)]
    assert changed
    for key in changed:
        tensors["training"][key] = tensors["training"][key].repeat(3, *[1] * (tensors["training"][key].dim() - 1))
    write_checkpoint(run / "checkpoints" / "last", tensors, values)
    with pytest.raises(RunError, match="does not fit its recipe: "):
        train_recipe(load_recipe(run / "recipe.yaml", ["training.steps=8"]), run, resume=True)
