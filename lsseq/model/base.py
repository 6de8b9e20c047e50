"""What every sequence model offers to the training loop and to the evaluation.

Shape letters: T time, B batch (streams or pieces side by side), H hidden, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn

from lsseq.nn.state import State

if TYPE_CHECKING:
    from lsseq.data.batches import Batch

Extras = dict[str, Tensor]
"""What a model has to tell besides its predictions, by name, such as the boundaries that it found. Numbers and lists of
them go into the lines of a training."""
PENALTY = "penalty"
"""Under this name a recurrence tells what it adds to the loss in training, a scalar."""
SUMS = "sums"
"""Under this name a recurrence with detectors of boundaries tells their sums in training, (T, B, D), still attached to
their graph: what they are taught by."""


@dataclass
class Output:
    """What a training step needs."""

    loss: Tensor
    """Scalar to minimise: the mean negative log-likelihood a token in nats, and the regularisers."""
    nll: Tensor
    """Scalar, detached: the mean negative log-likelihood a token in nats, without the regularisers. Of a model whose
    objective is the `mse`, the mean squared error."""
    state: State
    """State after the window, still attached to its graph."""
    extras: Extras = field(default_factory=dict)


@dataclass
class Score:
    """What an evaluation needs."""

    nll: Tensor
    """(T, B): negative log-likelihood of each target in nats, or its squared error; 0 where the mask is False."""
    state: State
    extras: Extras = field(default_factory=dict)
    correct: Tensor | None = None
    """(T, B) bool: whether the target was the likeliest class; None where nobody asks for it."""


class SequenceModel(nn.Module, ABC):
    """A model that reads a sequence window by window and carries its state from one to the next.

    The state is opaque: None stands for the initial one, anything else comes from an earlier call. To cut the gradient
    between windows is the caller's work (`lsseq.nn.state.detach_state`).
    """

    objective: Literal["nll", "mse"] = "nll"
    """The figure that is minimised, by which validation chooses."""

    @abstractmethod
    def forward(self, batch: Batch, state: State = None) -> Output:
        """The loss of a window, for training."""

    def at_epoch(self, epoch: int) -> None:
        """Called before each training step with the whole epochs that are done, for schedules inside the model."""

    @abstractmethod
    def score(self, batch: Batch, state: State = None) -> Score:
        """The negative log-likelihood of every target of a window, for evaluation."""
