"""Steps whose loss or gradient is not finite: what is kept of them, and how many of them a training goes on without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lsseq.data.batches import Window
from lsseq.errors import RunError
from lsseq.nn.state import flatten_state
from lsseq.recipe.schema import Training
from lsseq.runs import RunFolder, write_checkpoint

if TYPE_CHECKING:
    from lsseq.training.state import LoopState, Tensors

LIMIT = 10
"""Steps in a row that `training.nonfinite: skip` leaves out; one more ends the training."""


class NonFiniteError(RunError):
    """A step is not finite. Its batch is here, and all that it started from, where that was not lost.

    Attributes:
        what: which number is not finite.
        tensors, values: what a checkpoint takes; docs/interface.md names them.
        skippable: `training.nonfinite: skip` would go on.
    """

    def __init__(self, training: Training, what: str, tensors: Tensors, values: dict[str, Any]) -> None:
        super().__init__(f"the training diverged: {what}", hint=_advice(training))
        self.what, self.tensors, self.values = what, tensors, values
        self.skippable = training.nonfinite == "stop"

    def keep(self, folder: RunFolder) -> str:
        """Put it in the place of the one that was kept before; where it is, for people."""
        try:
            write_checkpoint(folder.nonfinite, self.tensors, self.values)
        except OSError as error:
            return f"the step could not be kept ({error.strerror})"
        return f"{folder.nonfinite} holds the step"


@dataclass
class Skips:
    """Steps that were left out since they were not finite."""

    in_a_row: int = 0
    since_line: int = 0
    """Since the last train line."""

    def skip(self, fault: NonFiniteError) -> None:
        """Count a step.

        Raises:
            NonFiniteError: too many in a row.
        """
        if self.in_a_row == LIMIT:
            fault.message = f"the training diverged: {LIMIT} steps in a row were left out, and {fault.what}"
            raise fault
        self.in_a_row += 1
        self.since_line += 1

    def state(self) -> dict[str, int]:
        return asdict(self)


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


def diverged(training: Training, what: str) -> RunError:
    """The error of a training whose numbers are not finite any more."""
    return RunError(f"the training diverged: {what}", hint=_advice(training))


def _advice(training: Training) -> str:
    clip = "set training.clip" if training.clip is None else f"training.clip (now {training.clip:g})"
    return f"lower training.lr (now {training.lr:g}) or {clip}; the checkpoints are from before it"


def _spoilt(state: LoopState) -> dict[str, int]:
    """How many elements of each parameter's gradient are not finite, where some are."""
    counts = {
        name: int((~parameter.grad.isfinite()).sum())
        for name, parameter in state.model.named_parameters()
        if parameter.grad is not None
    }
    return {name: count for name, count in counts.items() if count}
