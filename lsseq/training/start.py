"""Where a step starts: what it may spoil, and what is kept of it where its loss or gradient is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lsseq.data.batches import Window
from lsseq.nn.state import flatten_state
from lsseq.recipe.schema import Training
from lsseq.training.nonfinite import NonFiniteError
from lsseq.training.state import LoopState, Tensors


class Start:
    """Where a step starts: what it may spoil, and what it can be repeated from."""

    def __init__(self, state: LoopState) -> None:
        self._recurrent = state.recurrent
        self._generators = state.generators()
        self._buffers = {name: buffer.detach().clone() for name, buffer in state.model.named_buffers()}

    @torch.no_grad()
    def undo(self, state: LoopState) -> None:
        """Give back what the step has spoilt. A recurrent state that is not finite begins anew."""
        for name, buffer in state.model.named_buffers():
            buffer.copy_(self._buffers[name])
        spoilt = not all(bool(tensor.isfinite().all()) for tensor in flatten_state(state.recurrent).values())
        if state.processes.any(spoilt):
            state.recurrent = None

    def fault(
        self, state: LoopState, training: Training, windows: Sequence[Window], nll: float, norm: float
    ) -> NonFiniteError:
        """What there is to say of the step, which was undone."""
        name, value = ("loss", nll) if not math.isfinite(nll) else ("gradient norm", norm)
        step = state.step + 1
        tensors: Tensors = {
            "batch": batch_tensors(windows),
            "start": flatten_state(self._recurrent, "recurrent") | self._generators,
            "weights": state.model.state_dict(),
        }
        # As text, since JSON knows neither inf nor nan.
        numbers = {"nll": str(nll), "grad_norm": str(norm), "lr": state.lr, "gradients": _spoilt(state)}
        values = {"step": step, "epoch": state.epoch, **numbers, "windows": window_values(windows)}
        return NonFiniteError(training, f"the {name} of step {step} is {value}", tensors, values)


def batch_tensors(windows: Sequence[Window]) -> dict[str, Tensor]:
    """What the windows of a step hold, by names such as `0.inputs`."""
    return {
        f"{number}.{name}": tensor
        for number, window in enumerate(windows)
        for name, tensor in vars(window.batch).items()
        if tensor is not None
    }


def window_values(windows: Sequence[Window]) -> list[dict[str, Any]]:
    """What is known of the windows of a step beside their tensors."""
    names = ("fresh", "epoch", "ends_epoch", "lr_scale")
    return [{name: getattr(window, name) for name in names} for window in windows]


def _spoilt(state: LoopState) -> dict[str, int]:
    """How many elements of each parameter's gradient are not finite, where some are."""
    counts = {
        name: int((~parameter.grad.isfinite()).sum())
        for name, parameter in state.model.named_parameters()
        if parameter.grad is not None
    }
    return {name: count for name, count in counts.items() if count}
