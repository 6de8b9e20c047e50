"""One step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from lsseq.data.batches import TrainingWindows, Window
from lsseq.errors import RunError
from lsseq.model.base import Output
from lsseq.nn.shards import part_of_batch
from lsseq.nn.state import detach_state
from lsseq.recipe.schema import Training
from lsseq.training.clipping import clip_gradient, clipped_update
from lsseq.training.optimizer import set_learning_rate
from lsseq.training.state import LoopState


def make_step(state: LoopState, training: Training) -> None:
    """Read the next windows and make one step.

    On the CPU the loss and the gradient norm are checked before the optimiser uses them. On CUDA that would make every
    step wait for the device, so there the sums in `state.meter` are checked when they are read (`check_sums`).

    Raises:
        RunError: the loss or the gradient norm is not finite.
    """
    windows = _next_windows(state.windows, training.accumulate)
    targets, steps = sum(window.targets for window in windows), sum(window.steps for window in windows)
    rows = state.processes.rows(training.batch)
    scaler = state.precision.scaler

    state.model.at_epoch(state.epoch)
    state.optimizer.zero_grad(set_to_none=True)
    nll = torch.zeros((), device=state.device)
    for window in windows:
        # Windows may differ in length: weighted so, the gradient is that of the mean over all their targets, those of
        # other processes too.
        share = window.batch.tokens / targets
        with part_of_batch(rows.start, state.processes.mean if state.processes.size > 1 else None):
            with state.precision.autocast():
                output: Output = state.model(window.batch.to(state.device), None if window.fresh else state.recurrent)
            torch.autograd.backward(scaler.scale(output.loss * share))
        nll = nll + output.nll * share
        state.recurrent = detach_state(output.state)
    part = windows[-1].batch.tokens / windows[-1].targets
    told = {name: value.detach() * part for name, value in output.extras.items() if value.dim() <= 1}

    lr_scale = sum(window.lr_scale for window in windows) / len(windows)
    state.lr = training.lr * lr_scale * state.schedule.factor(state.step + 1, state.epoch)
    set_learning_rate(state.optimizer, state.lr)
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    # Layers that a step leaves out are the same in all processes.
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    state.processes.add_up([*gradients, nll, *told.values()])
    scaler.unscale_(state.optimizer)
    norm = clip_gradient(parameters, training.clip, training.clip_by)
    if scaler.is_enabled():
        # An overflow is the scaler's business: it leaves the step out and scales less.
        norm = torch.where(norm.isfinite(), norm, 0.0)
    if state.device.type == "cpu":
        _check(float(nll), float(norm), f"step {state.step + 1}", training)
    _update(state, parameters, training)
    scaler.update()

    state.averaging.stepped(state.epoch)
    state.meter.add(nll, norm, targets, steps)
    state.step += 1
    state.tokens += steps
    state.epoch_ended = windows[-1].ends_epoch
    state.epoch = windows[-1].epoch + int(state.epoch_ended)
    state.told = told


def check_sums(state: LoopState, training: Training) -> tuple[float, float]:
    """The nll a target, or the mse, and the gradient norm since the last train line; waits for the device.

    Raises:
        RunError: a loss or a gradient norm was not finite.
    """
    nll, norm = state.meter.means()
    if state.meter.steps:
        first = state.step - state.meter.steps + 1
        _check(nll, norm, f"one of the steps {first} to {state.step}", training)
    return nll, norm


def _next_windows(windows: TrainingWindows, count: int) -> list[Window]:
    """The windows of a step; fewer at the end of an epoch, so that every step belongs to one epoch."""
    taken = [windows.next()]
    while len(taken) < count and not taken[-1].ends_epoch:
        taken.append(windows.next())
    return taken


def _update(state: LoopState, parameters: Sequence[nn.Parameter], training: Training) -> None:
    def step() -> None:
        state.precision.scaler.step(state.optimizer)

    if training.clip is not None and training.clip_by == "update":
        clipped_update(parameters, training.clip, step)
    else:
        step()


def diverged(training: Training, what: str) -> RunError:
    """The error of a training whose numbers are not finite any more."""
    clip = "set training.clip" if training.clip is None else f"training.clip (now {training.clip:g})"
    return RunError(
        f"the training diverged: {what}",
        hint=f"lower training.lr (now {training.lr:g}) or {clip}; the checkpoints are from before it",
    )


def _check(nll: float, norm: float, where: str, training: Training) -> None:
    for name, value in (("loss", nll), ("gradient norm", norm)):
        if not math.isfinite(value):
            raise diverged(training, f"the {name} of {where} is {value}")
