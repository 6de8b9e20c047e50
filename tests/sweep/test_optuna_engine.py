"""The search by Optuna, its trials played by a function that writes what a training would."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from lsseq.errors import Interrupted
from lsseq.recipe import load_recipe
from lsseq.runs.folder import locked
from lsseq.sweep.folder import Settings, SweepFolder
from lsseq.sweep.trial import Outcome, Report

pytest.importorskip("optuna")

from lsseq.sweep import optuna_engine

LR = {"training.lr": "log:1e-4..1e-1"}
Play = Callable[[Path, Sequence[str], Path, Report], Outcome]


def sweep(path: Path, spaces: dict[str, str], trials: int, seed: int = 0) -> tuple[SweepFolder, Settings]:
    folder, settings = SweepFolder(path), Settings(spaces=spaces, trials=trials, engine="optuna", seed=seed)
    folder.begin(load_recipe("quickstart").recipe, settings)
    return folder, settings


def figure(overrides: Sequence[str]) -> float:
    """How far the learning rate is from 0.01, in powers of ten; 1 where it is not searched."""
    lr = next((float(one.partition("=")[2]) for one in overrides if one.startswith("training.lr=")), 0.1)
    return abs(math.log10(lr) + 2)


def playing(figures: Callable[[Sequence[str]], Sequence[float]] = lambda o: [figure(o)]) -> Play:
    """A training with these figures of validation, one a step; it goes on after those that are written."""

    def train(recipe: Path, overrides: Sequence[str], run: Path, report: Report) -> Outcome:
        run.mkdir(parents=True, exist_ok=True)
        (run / "recipe.yaml").write_text("\n".join(overrides))
        for step, value in enumerate(figures(overrides), start=1):
            lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
            if step > len(lines):
                with (run / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps({"step": step, "split": "valid", "nll": value}) + "\n")
            if report(step, value):
                return Outcome("pruned")
        return Outcome("complete")

    return train


def test_it_finds_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_engine, "run_trial", playing())
    folder, settings = sweep(tmp_path / "sweep", LR, 25)
    results = optuna_engine.search(folder, settings)
    assert [one.number for one in results] == list(range(25))
    assert {one.state for one in results} <= {"complete", "pruned"}
    assert all(1e-4 <= one.values["training.lr"] <= 1e-1 for one in results)
    best = folder.write_best(results)
    assert best is not None
    distances = [figure([f"training.lr={one.values['training.lr']}"]) for one in results]
    assert distances[best.number] == min(distances) < 0.2
    assert folder.best.read_text() == f"training.lr={best.values['training.lr']}"
    # Chosen by what was learned: the later trials are nearer than the first ones, which are drawn at random.
    assert sorted(distances[10:])[7] < sorted(distances[:10])[5]
    assert optuna_engine.search(folder, settings) == results


def test_each_of_few_settings_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_engine, "run_trial", playing())
    folder, settings = sweep(tmp_path / "sweep", {"model.layers": "1..3", "model.recurrence": "lstm,gru"}, 20)
    results = optuna_engine.search(folder, settings)
    pairs = [(one.values["model.layers"], one.values["model.recurrence"]) for one in results]
    assert sorted(pairs) == [(layers, cell) for layers in (1, 2, 3) for cell in ("gru", "lstm")]


def test_a_killed_sweep_goes_on_with_the_trial_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed, settings = sweep(tmp_path / "undisturbed", LR, 8)
    monkeypatch.setattr(optuna_engine, "run_trial", playing(lambda o: [2 * figure(o), figure(o)]))
    expected = optuna_engine.search(undisturbed, settings)

    class Killed(BaseException):
        pass

    folder, settings = sweep(tmp_path / "killed", LR, 8)
    for stop in (3, 5):

        def dies(recipe: Path, overrides: Sequence[str], run: Path, report: Report, stop: int = stop) -> Outcome:
            if run.name == str(stop) and not run.exists():
                playing(lambda o: [2 * figure(o)])(recipe, overrides, run, report)
                raise Killed
            return playing(lambda o: [2 * figure(o), figure(o)])(recipe, overrides, run, report)

        monkeypatch.setattr(optuna_engine, "run_trial", dies)
        with pytest.raises(Killed):
            optuna_engine.search(folder, settings)
    assert optuna_engine.search(folder, settings) == expected


def test_a_trial_of_another_process_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, settings = sweep(tmp_path / "sweep", LR, 3)

    def interrupted(*_: object) -> Outcome:
        raise Interrupted("interrupted")

    monkeypatch.setattr(optuna_engine, "run_trial", interrupted)
    with pytest.raises(Interrupted):
        optuna_engine.search(folder, settings)
    monkeypatch.setattr(optuna_engine, "run_trial", playing())
    with locked(folder.path / "trials" / ".0.lock", "trial 0"):
        assert [one.state for one in optuna_engine.search(folder, settings)] == ["running", "complete", "complete"]
    assert [one.state for one in optuna_engine.search(folder, settings)] == ["complete"] * 3


def test_a_trial_that_another_process_ends_meanwhile_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = sweep(tmp_path / "sweep", LR, 2)

    def interrupted(*_: object) -> Outcome:
        raise Interrupted("interrupted")

    monkeypatch.setattr(optuna_engine, "run_trial", interrupted)
    with pytest.raises(Interrupted):
        optuna_engine.search(folder, settings)
    take = optuna_engine._Study._take

    def late(study: optuna_engine._Study, number: int, stack: ExitStack) -> bool:
        if number == 0:
            study.study.tell(0, 0.5, skip_if_finished=True)
        return take(study, number, stack)

    monkeypatch.setattr(optuna_engine._Study, "_take", late)
    monkeypatch.setattr(optuna_engine, "run_trial", playing())
    assert [one.state for one in optuna_engine.search(folder, settings)] == ["complete"] * 2
    assert [path.name for path in (folder.path / "trials").iterdir() if path.is_dir()] == [folder.run(1).name]
    assert not list((folder.path / "trials").glob("*.lock"))


def work(path: Path) -> None:
    """What each of several processes does."""
    folder = SweepFolder(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna_engine, "run_trial", playing())
        optuna_engine.search(folder, folder.settings())


def test_processes_share_a_sweep(tmp_path: Path) -> None:
    folder, settings = sweep(tmp_path / "sweep", LR, 9)
    processes = [get_context("fork").Process(target=work, args=(folder.path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    results = optuna_engine.search(folder, settings)
    assert {one.state for one in results} <= {"complete", "pruned"}
    assert len(results) == 9
    assert len({one.values["training.lr"] for one in results}) == 9


def test_poor_trials_are_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_engine, "run_trial", playing(lambda o: [figure(o)] * 4))
    folder, settings = sweep(tmp_path / "sweep", LR, 20)
    results = optuna_engine.search(folder, settings)
    values = [figure([f"training.lr={one.values['training.lr']}"]) for one in results]
    complete: list[float] = []
    for number, one in enumerate(results):
        steps = len((folder.run(number) / "metrics.jsonl").read_text().splitlines())
        poor = len(complete) >= 5 and values[number] > np.median(complete)
        assert (one.state, steps) == (("pruned", 1) if poor else ("complete", 4))
        complete += [] if poor else [values[number]]
    assert {one.state for one in results} == {"complete", "pruned"}


def test_a_failed_trial_keeps_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(recipe: Path, overrides: Sequence[str], run: Path, report: Report) -> Outcome:
        if run.name == "1":
            return Outcome("failed", "the training diverged\nhint: a lower rate")
        return playing()(recipe, overrides, run, report) if run.name == "0" else Outcome("complete")

    monkeypatch.setattr(optuna_engine, "run_trial", train)
    folder, settings = sweep(tmp_path / "sweep", LR, 3)
    results = optuna_engine.search(folder, settings)
    assert [one.state for one in results] == ["complete", "failed", "failed"]
    assert [one.error for one in results[1:]] == [
        "the training diverged\nhint: a lower rate",
        "it wrote no validation figure",
    ]
    assert folder.line(results[1]).endswith(": the training diverged")
    best = folder.write_best(results)
    assert best is not None
    assert best.number == 0
