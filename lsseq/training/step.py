"""One step of the optimiser."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from lsseq.data.batches import TrainingWindows, Window
from lsseq.model.base import Output
from lsseq.nn.shards import part_of_batch
from lsseq.nn.state import detach_state
from lsseq.recipe.schema import Training
from lsseq.training.clipping import clip_gradient, clipped_update, gradient_norm
from lsseq.training.nonfinite import NonFiniteError, diverged
from lsseq.training.optimizer import set_learning_rate
from lsseq.training.start import Start, batch_tensors, window_values
from lsseq.training.state import LoopState

SMALLEST_SCALE = 2.0**-14
"""Of the loss in float16: a gradient that overflows even so is not finite, whatever it is scaled by."""


def make_step(state: LoopState, training: Training) -> None:
    """Read the next windows and make one step.

    On the CPU, and with `training.nonfinite: skip`, the loss and the gradient norm are looked at before the optimiser
    uses them. On CUDA that makes every step wait for the device, so else the sums in `state.meter` are looked at when
    they are read (`check_sums`).

    Raises:
        NonFiniteError: the loss or the gradient norm is not finite. The step was left out: the weights are as they
            were, and the next step may be made.
    """
    start = Start(state) if state.device.type == "cpu" or training.nonfinite == "skip" else None
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
    norm = gradient_norm(parameters)
    if scaler.is_enabled():
        # An overflow is the scaler's business: it leaves the step out and scales less.
        norm = torch.where(norm.isfinite(), norm, 0.0)
    fault = None
    if start is not None and not (math.isfinite(float(nll)) and math.isfinite(float(norm))):
        start.undo(state)
        fault = start.fault(state, training, windows, float(nll), float(norm))
    else:
        clip_gradient(parameters, norm, training.clip, training.clip_by)
        _update(state, parameters, training)
        state.averaging.stepped(state.epoch)
        state.meter.add(nll, norm, targets, steps)
        state.told = told
    scaler.update()

    state.step += 1
    state.tokens += steps
    state.epoch_ended = windows[-1].ends_epoch
    state.epoch = windows[-1].epoch + int(state.epoch_ended)
    if fault is not None:
        raise fault


def check_sums(state: LoopState, training: Training) -> tuple[float, float]:
    """The nll a target, or the mse, and the gradient norm since the last train line; waits for the device.

    Raises:
        NonFiniteError: a loss or a gradient norm was not finite.
        RunError: the gradient overflows float16 however little it is scaled.
    """
    nll, norm = state.meter.means()
    if state.meter.steps and not (math.isfinite(nll) and math.isfinite(norm)):
        raise _found_late(state, training)
    scaler = state.precision.scaler
    if scaler.is_enabled() and scaler.get_scale() < SMALLEST_SCALE:
        raise diverged(training, f"by step {state.step} no scale keeps the gradient within float16")
    return nll, norm


def _found_late(state: LoopState, training: Training) -> NonFiniteError:
    """The first step that was not finite since the last train line. Its windows are read again; its weights are lost,
    and what it started from."""
    nll, norm = state.meter.finite()
    position = state.windows.position()
    state.windows.seek(state.line_position)
    for _ in range(1 + min(nll, norm)):
        windows = _next_windows(state.windows, training.accumulate)
    state.windows.seek(position)
    step = state.step - state.meter.steps + 1 + min(nll, norm)
    name = "loss" if nll <= norm else "gradient norm"
    values = {"step": step, "epoch": windows[0].epoch, "windows": window_values(windows)}
    return NonFiniteError(
        training, f"the {name} of step {step} is not finite", {"batch": batch_tensors(windows)}, values
    )


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
