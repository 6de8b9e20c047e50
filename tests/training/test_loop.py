"""The loop on a toy model: what it writes, when it ends, and that a stopped training goes on to the bit."""

from __future__ import annotations

import errno
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import StopAt, evaluate, losses, toy_state, toy_train, toy_training

from lsseq.errors import Interrupted, RunError
from lsseq.runs import RunFolder, files, read_checkpoint, read_metrics, read_values, write_checkpoint
from lsseq.training.budget import Budget
from lsseq.training.interrupt import Stop, Stopped
from lsseq.training.loop import train
from lsseq.training.progress import Progress
from lsseq.training.state import LoopState


class Killed(BaseException):
    """Stands for SIGKILL."""


def train_until_killed(path: Path, training: Any, step: int) -> None:
    class Killer(Progress):
        def stepped(self, state: LoopState) -> None:
            if state.step == step:
                raise Killed

    state = toy_state(training)
    path.mkdir()
    with pytest.raises(Killed):
        train(state, training, evaluate, RunFolder(path), Killer(Budget(training), io.StringIO()), Stop())


def train_and_stop(path: Path, training: Any, step: int) -> None:
    state = toy_state(training)
    with pytest.raises(Interrupted) as caught:
        toy_train(path, training, state, StopAt(state, step))
    assert caught.value.message == f"interrupted after step {step}; the state was saved"
    assert caught.value.hint == f"go on with: lsseq train --run {path} --resume"
    assert caught.value.exit_code == 130


VARIANTS: dict[str, dict[str, Any]] = {
    "adam": {"evaluate_every": 9},
    "nt-asgd": {
        "optimizer": "sgd", "lr": 2.0, "random_bptt": True, "averaging": {"kind": "nt-asgd", "patience": 1},
        "evaluate_every": 4,
    },
    "epochs": {"epochs": 2, "steps": None, "windows": "pieces", "averaging": {"kind": "asgd", "start": 1}},
    "rest": {
        "optimizer": "rmsprop", "momentum": 0.5, "clip_by": "update", "accumulate": 3, "evaluate_every": 5,
        "schedule": {"kind": "plateau", "warmup": 5}, "averaging": {"kind": "ema", "decay": 0.9},
        "early_stopping": 20, "checkpoint_every": 4,
    },
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stopped_training_goes_on_to_the_bit(variant: str, tmp_path: Path) -> None:
    training = toy_training(**VARIANTS[variant])
    whole = toy_train(tmp_path / "whole", training)
    expected = losses(tmp_path / "whole")
    assert len(expected) > 8
    weights = read_checkpoint(tmp_path / "whole" / "checkpoints" / "last")[0]["weights"]
    best = read_checkpoint(tmp_path / "whole" / "checkpoints" / "best")
    if variant == "nt-asgd":
        assert whole.averaging.active, "the average must have begun for this test to say something"
    for number, step in enumerate(range(1, whole.step + 1, 3)):
        path = tmp_path / str(step)
        (train_and_stop if number % 2 else train_until_killed)(path, training, step)
        resumed = toy_train(path, training)
        assert losses(path) == expected, f"stopped at {step}"
        assert (resumed.step, resumed.epoch, resumed.tokens) == (whole.step, whole.epoch, whole.tokens)
        assert resumed.best == whole.best
        assert resumed.final == whole.final
        again = read_checkpoint(path / "checkpoints" / "last")[0]["weights"]
        assert all(torch.equal(again[name], weights[name]) for name in weights)
        again = read_checkpoint(path / "checkpoints" / "best")[0]["weights"]
        assert all(torch.equal(again[name], best[0]["weights"][name]) for name in weights)


class StopInEvaluation(Stop):
    """A signal that arrives while evaluation number `number` is under way."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @contextmanager
    def at_once(self) -> Iterator[None]:
        with super().at_once():
            yield
            self.number -= 1
            if self.number == 0:
                self.request()
                raise Stopped


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_evaluation_that_was_given_up_is_made_when_the_training_goes_on(variant: str, tmp_path: Path) -> None:
    """The last one, after the end of the training, too."""
    training = toy_training(**VARIANTS[variant])
    whole = toy_train(tmp_path / "whole", training)
    expected = losses(tmp_path / "whole")
    evaluations = [line["step"] for line in expected if line["split"] == "valid"]
    assert len(evaluations) > 1
    for number, step in enumerate(evaluations, start=1):
        path = tmp_path / str(number)
        with pytest.raises(Interrupted, match=f"interrupted after step {step}; the state was saved"):
            toy_train(path, training, stop=StopInEvaluation(number))
        before = read_values(path / "checkpoints" / "last")
        assert (before["step"], before["final"]) == (step, None)
        resumed = toy_train(path, training)
        assert losses(path) == expected, f"evaluation {number}"
        assert (resumed.best, resumed.final) == (whole.best, whole.final)


def test_a_second_sigint_says_what_is_left(tmp_path: Path) -> None:
    class Impatient(Progress):
        def stepped(self, state: LoopState) -> None:
            if state.step == 13:
                raise KeyboardInterrupt

    training, path = toy_training(checkpoint_every=5), tmp_path / "run"
    expected = toy_train(tmp_path / "whole", training)
    path.mkdir()
    with pytest.raises(Interrupted) as caught:
        train(
            toy_state(training), training, evaluate, RunFolder(path), Impatient(Budget(training), io.StringIO()), Stop()
        )
    assert caught.value.message == "interrupted at once; nothing was saved since the last checkpoint"
    assert caught.value.hint == f"go on from there with: lsseq train --run {path} --resume"
    assert read_values(path / "checkpoints" / "last")["step"] == 10
    assert toy_train(path, training).final == expected.final


def test_the_same_seed_gives_the_same_bits_and_another_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        toy_train(tmp_path / name, toy_training(seed=seed))
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert losses(tmp_path / "a") != losses(tmp_path / "c")


@pytest.mark.parametrize("steps", [20, 23])
def test_a_larger_budget_goes_on_as_if_it_had_been_given_at_first(steps: int, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"evaluate_every": 5, "schedule": {"kind": "plateau"}, "early_stopping": 30}
    toy_train(tmp_path / "whole", toy_training(steps=40, **keys))
    toy_train(tmp_path / "short", toy_training(steps=steps, **keys))
    ended = [(line["step"], line["split"]) for line in losses(tmp_path / "short")]
    assert {(steps, "train"), (steps, "valid")} <= set(ended), "the end is always measured"
    toy_train(tmp_path / "short", toy_training(steps=40, **keys))
    assert losses(tmp_path / "short") == losses(tmp_path / "whole")


def test_what_comes_before_the_first_step_takes_no_time(tmp_path: Path) -> None:
    state = toy_state(training := toy_training(steps=3))
    time.sleep(0.05)
    assert state.clock.total() == 0.0
    toy_train(tmp_path / "run", training, state)
    assert 0.0 < state.clock.training() < state.clock.total()


def test_lines(tmp_path: Path) -> None:
    state = toy_train(tmp_path / "run", toy_training(steps=20, log_every=6, evaluate_every=10))
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [(line["step"], line["split"]) for line in lines] == [
        (6, "train"), (10, "valid"), (12, "train"), (18, "train"), (20, "valid"), (20, "train"),
    ]  # fmt: skip
    assert set(lines[0]) == {
        "step", "epoch", "split", "nll", "lr", "tokens_per_second", "seconds", "grad_norm", "rate",
    }  # fmt: skip
    assert lines[0]["rate"] == [0.5, 0.25], "figures of the model itself"
    assert set(lines[1]) == {"step", "epoch", "split", "nll", "perplexity", "seconds"}
    assert state.final == {"step": 20, "nll": lines[-2]["nll"], "perplexity": lines[-2]["perplexity"]}
    assert state.tokens == 20 * 4 * 10


def test_train_nll_is_the_mean_since_the_line_before(tmp_path: Path) -> None:
    toy_train(tmp_path / "each", toy_training(steps=12, log_every=1))
    toy_train(tmp_path / "few", toy_training(steps=12, log_every=4))
    each = [line["nll"] for line in losses(tmp_path / "each") if line["split"] == "train"]
    few = [line["nll"] for line in losses(tmp_path / "few") if line["split"] == "train"]
    assert few == pytest.approx([sum(each[i : i + 4]) / 4 for i in (0, 4, 8)], rel=1e-12)


def test_what_is_left_at_the_end_has_a_line_too(tmp_path: Path) -> None:
    toy_train(tmp_path / "run", toy_training(steps=3, log_every=50))
    assert [(line["step"], line["split"]) for line in losses(tmp_path / "run")] == [(3, "train"), (3, "valid")]


def test_epochs_end_the_training_and_evaluate(tmp_path: Path) -> None:
    training = toy_training(steps=None, epochs=2, accumulate=4)
    state = toy_train(tmp_path / "run", training)
    windows = state.windows.windows_per_epoch
    assert state.epoch == 2
    assert state.step == 2 * -(-windows // 4)
    assert [line["epoch"] for line in losses(tmp_path / "run") if line["split"] == "valid"] == [1, 2]


def test_minutes_count_what_was_spent_before(tmp_path: Path) -> None:
    training = toy_training(steps=None, minutes=1.0)
    state = toy_state(training)
    with pytest.raises(Interrupted):
        toy_train(tmp_path / "run", training, state, StopAt(state, 5))
    state.clock.restore({"total": 59.5, "aside": 0.0})
    state.final = None
    write_checkpoint(tmp_path / "run" / "checkpoints" / "last", *state.save())
    resumed = toy_train(tmp_path / "run", training)
    assert 60.0 <= resumed.clock.total() < 90.0
    assert resumed.step > 5


def test_early_stopping(tmp_path: Path) -> None:
    nlls = iter([3.0, 2.0, 2.5, 2.4, 2.3, 1.0])
    training = toy_training(steps=100, evaluate_every=2, early_stopping=3)
    (tmp_path / "run").mkdir()
    state = toy_state(training)
    progress = Progress(Budget(training), io.StringIO())
    train(state, training, lambda model: {"nll": next(nlls)}, RunFolder(tmp_path / "run"), progress, Stop())
    assert state.step == 10
    assert state.best == {"step": 4, "nll": 2.0}
    assert state.final == {"step": 10, "nll": 2.3}
    assert read_values(tmp_path / "run" / "checkpoints" / "best")["step"] == 4
    assert read_values(tmp_path / "run" / "checkpoints" / "last")["step"] == 10


def test_evaluation_sees_the_average_and_training_does_not(tmp_path: Path) -> None:
    training = toy_training(steps=10, evaluate_every=10, averaging={"kind": "asgd"})
    state = toy_train(tmp_path / "run", training)
    own = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    stored = read_checkpoint(tmp_path / "run" / "checkpoints" / "last")[0]["weights"]
    assert not torch.equal(stored["step.weight"], own["step.weight"])
    state.model.load_state_dict(stored)
    assert state.final is not None
    assert evaluate(state.model.eval())["nll"] == state.final["nll"]


def test_divergence_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    training = toy_training(steps=100, checkpoint_every=4)
    state = toy_state(training)
    calls = 0

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gradient * float("nan") if calls == 11 else gradient

    state.model.get_parameter("step.weight").register_hook(poison)
    with pytest.raises(RunError, match="the gradient norm of step 11 is nan"):
        toy_train(tmp_path / "run", training, state)
    tensors, values = read_checkpoint(tmp_path / "run" / "checkpoints" / "last", ["weights", "training"])
    assert values["step"] == 8
    assert all(tensor.isfinite().all() for group in tensors.values() for tensor in group.values())


def test_a_validation_that_is_not_finite_is_no_best(tmp_path: Path) -> None:
    training = toy_training(steps=20, evaluate_every=5)
    nlls = iter([1.5, float("nan")])
    state = toy_state(training)
    (tmp_path / "run").mkdir()
    progress = Progress(Budget(training), io.StringIO())
    with pytest.raises(RunError) as caught:
        train(state, training, lambda model: {"nll": next(nlls)}, RunFolder(tmp_path / "run"), progress, Stop())
    assert caught.value.message == "the training diverged: the validation nll after step 10 is nan"
    assert read_values(tmp_path / "run" / "checkpoints" / "best")["best"] == {"step": 5, "nll": 1.5}
    assert read_values(tmp_path / "run" / "checkpoints" / "last")["step"] == 5


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = toy_training(steps=30, checkpoint_every=5)
    expected = toy_train(tmp_path / "whole", training)
    real = os.write
    written = 0

    def write(handle: int, content: Any) -> int:
        nonlocal written
        written += len(content)
        if written > 40_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, content)

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "write", write)
        with pytest.raises(RunError) as caught:
            toy_train(path, training)
    assert caught.value.message.startswith(f"the disk is full: {path}")
    assert caught.value.hint == (
        f"free some room, then go on from the last checkpoint with: lsseq train --run {path} --resume"
    )
    assert 0 < read_values(path / "checkpoints" / "last")["step"] < 30
    assert toy_train(path, training).final == expected.final
    assert losses(path) == losses(tmp_path / "whole")


def test_budgets_in_seconds_show_what_is_done() -> None:
    training = toy_training(steps=10, minutes=1.0, epochs=100)
    state = toy_state(training)
    budget = Budget(training)
    state.clock.restore({"total": 0.0, "aside": 0.0})
    state.step = 4
    assert budget.done(state) == pytest.approx(0.4)
    state.clock.restore({"total": 45.0, "aside": 0.0})
    assert budget.done(state) == pytest.approx(0.75, abs=0.01)
