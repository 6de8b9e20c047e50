"""One step: the gradient of accumulated windows, the learning rate, and the check that stops a diverging run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import TOKENS, ToyModel, toy_state, toy_training

from lsseq.data.batches import Batch, Window
from lsseq.errors import RunError
from lsseq.training.state import LoopState
from lsseq.training.step import check_sums, make_step


class Given:
    """Windows given one by one."""

    windows_per_epoch = tokens_per_epoch = 1

    def __init__(self, windows: list[Window]) -> None:
        self.windows = windows

    def next(self) -> Window:
        return self.windows.pop(0)

    def position(self) -> dict[str, int]:
        return {}

    def seek(self, position: dict[str, int]) -> None:
        pass


def window(begin: int, length: int, rows: int, **keys: Any) -> Window:
    text = torch.as_tensor(TOKENS[begin : begin + rows * (length + 1)].astype("int64")).view(rows, -1).T
    return Window(Batch(text[:-1], text[1:]), fresh=True, epoch=0, ends_epoch=False, **keys)


def given_state(windows: list[Window], **keys: Any) -> tuple[LoopState, Any]:
    training = toy_training(optimizer="sgd", clip=None, **keys)
    state = toy_state(training, dropout=0.0, dtype=torch.float64)
    state.windows = Given(windows)
    return state, training


def test_accumulation_is_the_mean_over_all_tokens() -> None:
    """Windows of different shapes together give the gradient of one loss over their tokens."""
    windows = [window(0, 9, 4), window(100, 3, 4), window(200, 17, 2)]
    state, training = given_state(list(windows), accumulate=3)
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    make_step(state, training)

    reference = ToyModel(dropout=0.0, dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(torch.cat([p.flatten() for p in before]), reference.parameters())
    nll = torch.cat([reference.nll(each.batch, None)[0].flatten() for each in windows])
    nll.mean().backward()
    for old, new, theirs in zip(before, state.model.parameters(), reference.parameters(), strict=True):
        assert theirs.grad is not None
        torch.testing.assert_close(old - training.lr * theirs.grad, new.detach(), rtol=0, atol=1e-12)
    mean, _ = check_sums(state, training)
    assert mean == pytest.approx(nll.mean().item(), abs=1e-6)
    assert state.tokens == state.meter.tokens == 36 + 12 + 34
    assert (state.step, state.meter.steps) == (1, 1)


def test_masked_targets_do_not_count() -> None:
    one = window(0, 6, 3)
    mask = torch.ones(6, 3, dtype=torch.bool)
    mask[4:, 2] = False
    state, training = given_state([Window(Batch(one.batch.inputs, one.batch.targets, mask), True, 0, False)])
    make_step(state, training)
    assert state.tokens == 16


def test_a_step_ends_with_the_epoch() -> None:
    last = window(0, 5, 2)
    last = Window(last.batch, fresh=True, epoch=2, ends_epoch=True)
    state, training = given_state([window(50, 5, 2), last, window(90, 5, 2)], accumulate=3)
    make_step(state, training)
    assert (state.epoch, state.epoch_ended, state.tokens) == (3, True, 20)


def test_learning_rate_follows_schedule_and_window() -> None:
    windows = [window(0, 5, 2, lr_scale=0.5), window(50, 5, 2, lr_scale=1.5)]
    state, training = given_state(windows, schedule={"kind": "constant", "warmup": 2})
    make_step(state, training)
    assert state.lr == training.lr * 0.5 * 0.5
    make_step(state, training)
    assert state.lr == training.lr * 1.5


def test_state_is_carried_and_cut() -> None:
    training = toy_training()
    state = toy_state(training)
    make_step(state, training)
    carried = state.recurrent["h"][0]
    assert not carried.requires_grad
    assert carried.abs().sum() > 0


@pytest.mark.parametrize(("what", "value"), [("loss", "nan"), ("gradient norm", "inf")])
def test_what_is_not_finite_stops_before_the_weights_change(what: str, value: str) -> None:
    training = toy_training()
    state = toy_state(training)
    make_step(state, training)
    if what == "loss":
        state.model.get_parameter("output.bias").data.fill_(float("nan"))
    else:
        state.model.get_parameter("step.weight").register_hook(lambda gradient: gradient + float("inf"))
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    with pytest.raises(RunError) as caught:
        make_step(state, training)
    assert caught.value.message == f"the training diverged: the {what} of step 2 is {value}"
    assert caught.value.hint == (
        "lower training.lr (now 0.02) or training.clip (now 1); the checkpoints are from before it"
    )
    for old, new in zip(before, state.model.parameters(), strict=True):
        torch.testing.assert_close(old, new.detach(), rtol=0, atol=0, equal_nan=True)


def test_sums_that_are_not_finite_name_their_steps() -> None:
    """As on CUDA, where single steps are not looked at."""
    training = toy_training(clip=None)
    state = toy_state(training)
    state.step = 12
    for nll in (1.0, float("inf"), 2.0):
        state.meter.add(torch.tensor(nll), torch.tensor(1.0), 10, 10)
    with pytest.raises(RunError) as caught:
        check_sums(state, training)
    assert caught.value.message == "the training diverged: the loss of step 11 is not finite"
    assert caught.value.hint is not None
    assert "set training.clip" in caught.value.hint


def test_an_overflow_of_float16_leaves_the_step_out() -> None:
    """The scaler's way, shown on the CPU by a gradient that overflows once."""
    training = toy_training()
    state = toy_state(training)
    state.precision.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    overflow = state.model.get_parameter("step.weight").register_hook(lambda gradient: gradient * float("inf"))
    before = [parameter.detach().clone() for parameter in state.model.parameters()]
    make_step(state, training)
    assert all(map(torch.equal, before, state.model.parameters()))
    assert state.precision.scaler.get_scale() == 512.0
    overflow.remove()
    make_step(state, training)
    assert not any(map(torch.equal, before, state.model.parameters()))
    reference = toy_state(training)
    make_step(reference, training)
    assert check_sums(state, training)[0] == pytest.approx(check_sums(reference, training)[0], rel=0.1)
