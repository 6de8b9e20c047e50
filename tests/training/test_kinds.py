"""Saved values of other kinds are refused."""

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
        {"a": 2.5, "b": {"c": 1, "e": {"h": 1}}, "f": [], "g": True},
        {"other": 3},
        {},
    ],
)
def test_the_same_kinds(saved: dict[str, Any]) -> None:
    require_kinds(OWN, saved, "loop")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"a": "1"}, "loop.a is no float"),
        ({"a": True}, "loop.a is no float"),
        ({"a": None}, "loop.a is no float"),
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
    ("place", "value"),
    [
        (("windows", "offset"), "0"),
        (("meter", "since"), [1.0]),
        (("schedule", "patience"), 3),
        (("skips",), {"": 1}),
        (("lr",), None),
    ],
)
def test_a_run_with_other_kinds_does_not_go_on(
    place: tuple[str, ...], value: object, tmp_path: Path, small_text: Path
) -> None:
    run = tmp_path / "run"
    train_tiny(run, small_text)
    tensors, values = read_checkpoint(run / "checkpoints" / "last", ["weights", "training"])
    holder = values["loop"]
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    write_checkpoint(run / "checkpoints" / "last", tensors, json.loads(json.dumps(values)))
    with pytest.raises(RunError, match="does not fit its recipe: "):
        train_recipe(load_recipe(run / "recipe.yaml", ["training.steps=8"]), run, resume=True)
