"""Steps that are not finite: left out or the end of the training, kept for those who want to know, resumed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toys import TOKENS, StopAt, ToyModel, losses, toy_train, toy_training

from lsseq.data.batches import Batch, Window, training_windows
from lsseq.errors import Interrupted, RunError
from lsseq.model.base import Output
from lsseq.nn.state import State, detach_state, unflatten_state
from lsseq.recipe.schema import Training
from lsseq.runs import read_checkpoint, read_values
from lsseq.training import step as step_module
from lsseq.training.nonfinite import LIMIT
from lsseq.training.state import LoopState
from lsseq.training.step import check_sums, make_step


def bad(batch: Batch) -> bool:
    return int(batch.inputs.sum()) % 4 == 0


class Poisoned(ToyModel):
    """Some batches, always the same, give a loss or a gradient that is not finite."""

    def __init__(self, how: str = "gradient", dropout: float = 0.2) -> None:
        super().__init__(dropout=dropout)
        self.how = how
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: Batch, state: State = None) -> Output:
        output = super().forward(batch, state)
        self.get_buffer("seen").add_(1.0)
        if not bad(batch):
            return output
        if self.how == "state":
            self.get_buffer("seen").fill_(float("nan"))
            output.state = {"h": (output.state["h"][0] * float("nan"),), "none": None}
            return Output(output.loss * float("nan"), output.nll * float("nan"), output.state)
        # The root of 0 has an infinite slope.
        bias = self.output.bias
        output.loss = output.loss + (bias - bias.detach()).sum().sqrt()
        return output


def poisoned(training: Training, **keys: Any) -> LoopState:
    torch.manual_seed(training.seed)
    windows = training_windows(TOKENS, training, 0)
    return LoopState.start(Poisoned(**keys), windows, training, torch.device("cpu"))


def bad_steps(training: Training, steps: int) -> list[int]:
    windows = training_windows(TOKENS, training, 0)
    return [step for step in range(1, steps + 1) if bad(windows.next().batch)]


@pytest.mark.parametrize("how", ["gradient", "state"])
def test_skipping_is_training_without_these_steps(how: str) -> None:
    """Against a loop of plain SGD that passes over them."""
    training = toy_training(optimizer="sgd", lr=0.1, clip=None, nonfinite="skip")
    state = poisoned(training, how=how, dropout=0.0)
    expected = bad_steps(training, 30)
    assert 3 < len(expected) < 15

    reference = poisoned(training, dropout=0.0).model
    assert isinstance(reference, Poisoned)
    windows, carried, skipped = training_windows(TOKENS, training, 0), None, []
    for step in range(1, 31):
        window = windows.next()
        nll, after = ToyModel.nll(reference, window.batch, None if window.fresh else carried)
        carried = {"h": (after["h"][0].detach(),), "none": None}
        if bad(window.batch):
            carried = None if how == "state" else carried
        else:
            gradients = torch.autograd.grad(nll.mean(), list(reference.parameters()))
            for parameter, gradient in zip(reference.parameters(), gradients, strict=True):
                parameter.data -= 0.1 * gradient
        try:
            make_step(state, training)
        except RunError:
            skipped.append(step)
    assert skipped == expected
    for ours, theirs in zip(state.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert state.step == 30
    assert state.tokens == 30 * 40
    assert state.meter.steps == state.model.get_buffer("seen").item() == 30 - len(expected)


def test_a_run_with_skips_is_resumed_exactly(tmp_path: Path) -> None:
    training = toy_training(nonfinite="skip", log_every=4, evaluate_every=9)
    whole = toy_train(tmp_path / "whole", training, poisoned(training))
    lines = losses(tmp_path / "whole")
    counts = [line["skipped"] for line in lines if line["split"] == "train"]
    assert sum(counts) == len(bad_steps(training, 40))
    for step in range(1, 40, 2):
        path = tmp_path / str(step)
        state = poisoned(training)
        with pytest.raises(Interrupted):
            toy_train(path, training, state, StopAt(state, step))
        resumed = toy_train(path, training, poisoned(training))
        assert losses(path) == lines, f"stopped at {step}"
        assert resumed.final == whole.final
        assert resumed.skips == whole.skips


def test_too_many_in_a_row_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = toy_training(nonfinite="skip", steps=100, checkpoint_every=1)
    first = bad_steps(training, 100)[0]
    monkeypatch.setitem(globals(), "bad", lambda batch: state.step >= first - 1)
    state = poisoned(training)
    with pytest.raises(RunError) as caught:
        toy_train(tmp_path / "run", training, state)
    assert caught.value.message == (
        f"the training diverged: {LIMIT} steps in a row were left out, "
        f"and the gradient norm of step {first + LIMIT} is inf"
    )
    assert read_values(tmp_path / "run" / "checkpoints" / "last")["step"] == first - 1 + LIMIT
    with pytest.raises(RunError, match="10 steps in a row"):
        toy_train(tmp_path / "run", training, state := poisoned(training))


def test_the_step_is_kept_and_can_be_repeated(tmp_path: Path) -> None:
    training = toy_training(accumulate=2, steps=100)
    state, run = poisoned(training), tmp_path / "run"
    with pytest.raises(RunError) as caught:
        toy_train(run, training, state)
    assert caught.value.hint == (
        "lower training.lr (now 0.02) or training.clip (now 1); the checkpoints are from before it, and "
        f"{run / 'nonfinite'} holds the step; without such steps it goes on with: "
        f"lsseq train --run {run} --resume training.nonfinite=skip"
    )
    tensors, values = read_checkpoint(run / "nonfinite", ["batch", "start", "weights"])
    assert values["step"] == state.step
    assert values["grad_norm"] == "inf"
    assert float(values["nll"]) > 0
    assert values["gradients"] == {"output.bias": 7}

    again = Poisoned()
    again.load_state_dict(tensors["weights"])
    torch.set_rng_state(tensors["start"]["generator.cpu"])
    carried, nll, count = unflatten_state(tensors["start"], "recurrent"), 0.0, 0
    for number, window in enumerate(values["windows"]):
        batch = Batch(tensors["batch"][f"{number}.inputs"], tensors["batch"][f"{number}.targets"])
        output = again(batch, None if window["fresh"] else carried)
        output.loss.backward()
        carried, nll, count = detach_state(output.state), nll + output.nll.item() * batch.tokens, count + batch.tokens
    assert nll / count == pytest.approx(float(values["nll"]), abs=1e-6)
    assert again.output.bias.grad is not None
    assert again.output.bias.grad.isinf().all()


def test_a_step_that_cannot_be_kept_hides_nothing(tmp_path: Path) -> None:
    training = toy_training(steps=100)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "nonfinite").write_text("in the way")
    with pytest.raises(RunError, match="the gradient norm of step") as caught:
        toy_train(tmp_path / "run", training, poisoned(training))
    assert "the step could not be kept (File exists)" in str(caught.value.hint)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_what_is_found_late_names_its_step_and_keeps_its_batch(
    accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA, where single steps are not looked at."""
    monkeypatch.setattr(step_module, "Start", lambda state: None)
    training = toy_training(steps=100, accumulate=accumulate, log_every=25)
    windows, step, together = training_windows(TOKENS, training, 0), 0, list[Window]()
    while not any(bad(window.batch) for window in together):
        together, step = [windows.next()], step + 1
        while len(together) < accumulate and not together[-1].ends_epoch:
            together.append(windows.next())
    with pytest.raises(RunError) as caught:
        toy_train(tmp_path / "run", training, poisoned(training))
    assert caught.value.message == f"the training diverged: the gradient norm of step {step} is not finite"
    tensors, values = read_checkpoint(tmp_path / "run" / "nonfinite", ["batch"])
    assert values["step"] == step
    for number, window in enumerate(together):
        assert torch.equal(tensors["batch"][f"{number}.inputs"], window.batch.inputs)


def test_a_resumed_run_finds_late_what_began_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_module, "Start", lambda state: None)
    monkeypatch.setitem(globals(), "bad", lambda batch: state.step == 16)
    training = toy_training(steps=100, log_every=25)
    state, run = poisoned(training), tmp_path / "run"
    with pytest.raises(Interrupted):
        toy_train(run, training, state, StopAt(state, 9))
    state = poisoned(training)
    with pytest.raises(RunError, match="the gradient norm of step 17 is not finite"):
        toy_train(run, training, state)
    windows = training_windows(TOKENS, training, 0)
    for _ in range(17):
        window = windows.next()
    assert torch.equal(read_checkpoint(run / "nonfinite", ["batch"])[0]["batch"]["0.inputs"], window.batch.inputs)


def scaled(training: Training) -> LoopState:
    """As float16 on CUDA trains."""
    state = poisoned(training)
    state.precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    return state


def test_the_scaler_of_float16_is_resumed_exactly(tmp_path: Path) -> None:
    training = toy_training(log_every=4, evaluate_every=9)
    whole = toy_train(tmp_path / "whole", training, scaled(training))
    scale = whole.precision.scaler.state_dict()
    assert scale["scale"] != 1024.0
    for step in range(1, 40, 3):
        path, state = tmp_path / str(step), scaled(training)
        with pytest.raises(Interrupted):
            toy_train(path, training, state, StopAt(state, step))
        resumed = toy_train(path, training, scaled(training))
        assert losses(path) == losses(tmp_path / "whole"), f"stopped at {step}"
        assert resumed.precision.scaler.state_dict() == scale


def test_a_gradient_that_no_scale_keeps_in_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "bad", lambda batch: True)
    training = toy_training()
    state = scaled(training)
    for _ in range(24):
        make_step(state, training)
        check_sums(state, training)
    make_step(state, training)
    with pytest.raises(RunError, match="by step 25 no scale keeps the gradient within float16"):
        check_sums(state, training)
