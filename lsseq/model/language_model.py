"""A recurrent language model: embedding, recurrence, output layer.

Shape letters: T time, B batch, E embedding, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lsseq.model.base import PENALTY, SUMS, Extras, Output, Score
from lsseq.model.embedding import TokenInput
from lsseq.model.lesson import Lesson
from lsseq.model.loss import IGNORED, at_least_float32
from lsseq.model.output import OutputLayer
from lsseq.model.recurrence import LearnedState, Recurrence
from lsseq.model.recurrent import RecurrentModel
from lsseq.nn.state import State

if TYPE_CHECKING:
    from lsseq.data.batches import Batch, Tokens


class LanguageModel(RecurrentModel):
    """p(x_{t+1} | x_1 … x_t) is what the output layer makes of h_t, which a recurrence makes of the embedded tokens.

    Args:
        embedding: tokens to vectors.
        recurrence: what carries the state.
        output: features to probabilities.
        input_dropout: applied to the embedded tokens, (T, B, E).
        output_dropout: applied to the recurrence's output, (T, B, H).
        initial_state: a learned initial state; zeros where absent.
        activation: α of the activation regulariser α·mean(h'²), h' after dropout (AR, Merity et al. 2018).
        slowness: β of the temporal activation regulariser β·mean((h_{t+1} - h_t)²), h before dropout (TAR).
        lesson: what the recurrence's detectors of boundaries are taught in training; nothing where absent.
    """

    embedding: TokenInput
    output: OutputLayer

    def __init__(
        self,
        embedding: TokenInput,
        recurrence: Recurrence,
        output: OutputLayer,
        *,
        input_dropout: nn.Module,
        output_dropout: nn.Module,
        initial_state: LearnedState | None = None,
        activation: float = 0.0,
        slowness: float = 0.0,
        lesson: Lesson | None = None,
    ) -> None:
        super().__init__(
            embedding,
            recurrence,
            output,
            input_dropout=input_dropout,
            output_dropout=output_dropout,
            initial_state=initial_state,
        )
        self.activation = activation
        self.slowness = slowness
        self.lesson = lesson

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.embedding.vocabulary_size

    def logits(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """(T, B) tokens to the logits of what follows each, (T, B, V), and the state after them."""
        features, state, _ = self.features(inputs, state)
        return self.output.logits(self.output_dropout(features)), state

    def nll(self, features: Tensor, batch: Batch) -> Tensor:
        """(T, B): the negative log-likelihood of each target in nats, 0 where it is masked; for evaluation."""
        return self.output.each_nll(features.flatten(0, 1), _counted(batch)).view(batch.targets.shape)

    def output_flops(self) -> int:
        return self.output.flops()

    def flops_demanded(self, told: Extras, targets: Tokens) -> float | None:
        """The mean of those that a text demanded: from the means of what the recurrence told of it, and its tokens."""
        recurrence = self.recurrence.flops_demanded(told)
        return None if recurrence is None else recurrence + self.output.flops_demanded(targets)

    def forward(self, batch: Batch, state: State = None) -> Output:
        """The loss of a window: mean nll over the targets that count, and the regularisers."""
        features, state, extras = self.features(batch.inputs, state)
        dropped = self.output_dropout(features)
        nll = self.output.total_nll(dropped.flatten(0, 1), _counted(batch)) / batch.tokens
        loss = nll
        if self.activation > 0:
            loss = loss + self.activation * _mean(at_least_float32(dropped).square(), batch.mask)
        if self.slowness > 0 and len(features) > 1:
            both = None if batch.mask is None else batch.mask[1:] & batch.mask[:-1]
            loss = loss + self.slowness * _mean(at_least_float32(features).diff(dim=0).square(), both)
        if (penalty := extras.pop(PENALTY, None)) is not None:
            loss = loss + penalty
        if (sums := extras.pop(SUMS, None)) is not None and self.lesson is not None:
            taught = self.lesson.loss(sums, batch, lambda: self._surprisal(features, batch))
            if taught is not None:
                loss = loss + self.lesson.weight * taught
                extras["teaching_loss"] = taught.detach()
        return Output(loss, nll.detach(), state, extras)

    @torch.no_grad()
    def _surprisal(self, features: Tensor, batch: Batch) -> Tensor:
        """(T, B): the negative log-likelihood of each target without dropout."""
        return self.nll(features, batch)

    def score(self, batch: Batch, state: State = None) -> Score:
        """The negative log-likelihood of every target of a window."""
        features, state, extras = self.features(batch.inputs, state)
        return Score(self.nll(self.output_dropout(features), batch), state, extras)


def _counted(batch: Batch) -> Tensor:
    """(T·B,): the targets, `IGNORED` where they are padding."""
    targets = batch.targets if batch.mask is None else batch.targets.masked_fill(~batch.mask, IGNORED)
    return targets.flatten()


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of (T, B, H) over the positions that count."""
    return values.mean() if mask is None else values[mask].mean()
