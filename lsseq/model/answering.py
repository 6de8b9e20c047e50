"""A recurrent model that answers: a class or a number wherever its task asks for one.

Shape letters: T time, B batch, N answers, H hidden, C classes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lsseq.model.base import PENALTY, SUMS, Output, Score
from lsseq.model.embedding import NumberInput, TokenInput
from lsseq.model.loss import at_least_float32
from lsseq.model.recurrence import LearnedState, Recurrence
from lsseq.model.recurrent import RecurrentModel
from lsseq.nn.cost import weight_flops
from lsseq.nn.state import State

if TYPE_CHECKING:
    from lsseq.data.batches import Batch


class AnsweringModel(RecurrentModel):
    """A linear map of the features at the steps at which something is to be answered: after the last symbol of a
    sequence, or at each.

    Args:
        embedding, recurrence, input_dropout, output_dropout, initial_state: see `RecurrentModel`.
        classes: C; None to answer with a number, whose squared error is minimised.
    """

    output: nn.Linear

    def __init__(
        self,
        embedding: TokenInput | NumberInput,
        recurrence: Recurrence,
        classes: int | None,
        *,
        input_dropout: nn.Module,
        output_dropout: nn.Module,
        initial_state: LearnedState | None = None,
    ) -> None:
        super().__init__(
            embedding,
            recurrence,
            nn.Linear(recurrence.output_size, classes or 1),
            input_dropout=input_dropout,
            output_dropout=output_dropout,
            initial_state=initial_state,
        )
        self.objective = "mse" if classes is None else "nll"

    def output_flops(self) -> int:
        return weight_flops(self.output, "weight")

    @torch.no_grad()
    def initialise_output(self, half_width: float | None) -> None:
        """Start the output layer uniform in ±half_width; without one in ±1/√H. Its bias is 0."""
        width = 1 / math.sqrt(self.output.in_features) if half_width is None else half_width
        nn.init.uniform_(self.output.weight, -width, width)
        nn.init.zeros_(self.output.bias)

    def logits(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """What would be answered at every step: logits (T, B, C) or numbers (T, B, 1), and the state after them."""
        features, state, _ = self.features(inputs, state)
        return at_least_float32(self.output(self.output_dropout(features))), state

    def forward(self, batch: Batch, state: State = None) -> Output:
        """The loss of a batch: the mean error of its answers, and what the recurrence adds."""
        features, state, extras = self.features(batch.inputs, state)
        answers, targets = self._answers(self.output_dropout(features), batch)
        error = self._errors(answers, targets).mean()
        extras.pop(SUMS, None)
        loss = error + extras.pop(PENALTY, 0.0)
        return Output(loss, error.detach(), state, extras)

    def score(self, batch: Batch, state: State = None) -> Score:
        """The error of every answer, and whether the likeliest class was right."""
        features, state, extras = self.features(batch.inputs, state)
        answers, targets = self._answers(self.output_dropout(features), batch)
        right = None if self.objective == "mse" else _spread(answers.argmax(1) == targets, batch)
        return Score(_spread(self._errors(answers, targets), batch), state, extras, right)

    def _answers(self, features: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """(N, C) logits or (N, 1) numbers, and what they should be, (N,)."""
        if batch.mask is None:
            return at_least_float32(self.output(features.flatten(0, 1))), batch.targets.flatten()
        return at_least_float32(self.output(features[batch.mask])), batch.targets[batch.mask]

    def _errors(self, answers: Tensor, targets: Tensor) -> Tensor:
        """(N,): nats, or squared errors."""
        if self.objective == "mse":
            return (answers.squeeze(1) - targets).square()
        return F.cross_entropy(answers, targets, reduction="none")


def _spread(values: Tensor, batch: Batch) -> Tensor:
    """(T, B): N values at the steps that they belong to, 0 or False elsewhere."""
    if batch.mask is None:
        return values.view(batch.targets.shape)
    return values.new_zeros(batch.targets.shape).masked_scatter(batch.mask, values)
