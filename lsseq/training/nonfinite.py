"""Steps whose loss or gradient is not finite: the error, and how many of them a training goes on without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from lsseq.errors import RunError
from lsseq.recipe.schema import Training
from lsseq.runs import RunFolder, write_checkpoint

LIMIT = 10
"""Steps in a row that `training.nonfinite: skip` leaves out; one more ends the training."""


class NonFiniteError(RunError):
    """A step is not finite. Its batch is here, and all that it started from, where that was not lost.

    Attributes:
        what: which number is not finite.
        tensors, values: what a checkpoint takes; docs/interface.md names them.
        skippable: `training.nonfinite: skip` would go on.
    """

    def __init__(
        self, training: Training, what: str, tensors: Mapping[str, Mapping[str, Tensor]], values: dict[str, Any]
    ) -> None:
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


def diverged(training: Training, what: str) -> RunError:
    """The error of a training whose numbers are not finite any more."""
    return RunError(f"the training diverged: {what}", hint=_advice(training))


def _advice(training: Training) -> str:
    clip = "set training.clip" if training.clip is None else f"training.clip (now {training.clip:g})"
    return f"lower training.lr (now {training.lr:g}) or {clip}; the checkpoints are from before it"
