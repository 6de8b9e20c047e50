"""A run that is killed while it begins is none yet, or one that goes on from the weights it was to start from."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from disturbed.calls import DisturbedOs
from trained_runs import train_tiny

from lsseq.recipe import load_recipe
from lsseq.runs import RunFolder, files, read_checkpoint
from lsseq.training.session import train_recipe


class Killed(BaseException):
    """Stands for SIGKILL."""


def test_a_run_from_another_one_never_starts_from_other_weights(
    tmp_path: Path, small_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_tiny(tmp_path / "source", small_text)
    loaded, run = load_recipe(str(tmp_path / "source.yaml"), ["training.lr=0.01"]), RunFolder(tmp_path / "run")
    expected = train_recipe(loaded, tmp_path / "whole", source=str(tmp_path / "source"))

    def kill() -> None:
        raise Killed

    calls = 0
    while not run.recipe.exists():
        calls += 1
        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(files, "os", DisturbedOs(calls, kill))
            train_recipe(loaded, run.path, source=str(tmp_path / "source"))
    assert calls > 15, "the weights must have been written before"
    _, values = read_checkpoint(run.checkpoint("last"))
    assert values["step"] == 0
    resumed = train_recipe(load_recipe(str(run.recipe)), run.path, resume=True)
    assert (resumed.best, resumed.final) == (expected.best, expected.final)
    without = train_recipe(loaded, tmp_path / "without")
    assert without.final != expected.final
