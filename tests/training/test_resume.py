"""What a run that goes on may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsseq.errors import RequestError
from lsseq.recipe import Loaded, load_recipe
from lsseq.training.resume import refuse_changes

RECIPE = """\
data: {corpus: python-docs}
model:
  hidden: 32
  zoneout: {cell: 0.5}
training: {steps: 10, lr: 0.01}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def load(file: Path, *overrides: str) -> Loaded:
    return load_recipe(str(file), overrides)


@pytest.mark.parametrize(
    "override",
    [
        "training.steps=20", "training.minutes=3", "training.log_every=1", "training.threads=2", "training.device=cpu",
        "description=other", "evaluation.dynamic.lr=1e-3", "training.evaluate_every=5",
    ],
)  # fmt: skip
def test_budgets_and_reports_may_change(file: Path, override: str) -> None:
    refuse_changes(load(file, override), load(file).recipe, "runs/x")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hidden=64", "`model.hidden` is 64 here and 32 in the run runs/x"),
        ("model.zoneout.hidden=0.1", "`model.zoneout.hidden` is 0.1 here and 0.0 in the run runs/x"),
        ("data.unit=byte", "`data.unit` is byte here and char in the run runs/x"),
        ("training.lr=1", "`training.lr` is 1.0 here and 0.01 in the run runs/x"),
        ("training.clip=1", "`training.clip` is 1.0 here and not set in the run runs/x"),
        ("training.seed=2", "`training.seed` is 2 here and 1 in the run runs/x"),
        ("evaluation.pieces=10", "`evaluation.pieces` is 10 here and not set in the run runs/x"),
    ],
)
def test_what_makes_another_training_is_refused(file: Path, override: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        refuse_changes(load(file, override), load(file).recipe, "runs/x")
    assert caught.value.message == message
    assert caught.value.place is not None
    assert caught.value.place.text == override
    assert caught.value.hint is not None
    assert "--from runs/x" in caught.value.hint


def test_own_text_may_lie_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(RECIPE.replace("corpus: python-docs", "text: a.txt"))
    refuse_changes(load(file, "data.text=b.txt"), load(file).recipe, "runs/x")
    refuse_changes(load(file, "data.text={train: b.txt, valid: c.txt}"), load(file).recipe, "runs/x")
    with pytest.raises(RequestError, match=r"`data\.corpus` is ptb here and not set in the run runs/x"):
        refuse_changes(load(file, "data.corpus=ptb"), load(file).recipe, "runs/x")


def test_all_differences_at_once(file: Path) -> None:
    with pytest.raises(RequestError) as caught:
        refuse_changes(load(file, "model.hidden=64", "training.lr=1"), load(file).recipe, "runs/x")
    assert [problem.message.split()[0] for problem in caught.value.problems] == ["`model.hidden`", "`training.lr`"]
