"""What the models of texts and of tasks have in common: inputs to vectors, and a recurrence that reads them.

Shape letters: T time, B batch, I channels, H hidden.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from lsseq.model.base import Extras, SequenceModel
from lsseq.model.embedding import NumberInput, TokenInput
from lsseq.model.recurrence import LearnedState, Recurrence
from lsseq.nn.state import State


class RecurrentModel(SequenceModel):
    """Features h_t, which a recurrence makes of what was read; what is made of them is the subclass's work.

    Args:
        embedding: what is read to vectors.
        recurrence: what carries the state.
        output: what reads the features; called by the subclass.
        input_dropout: applied to the vectors.
        output_dropout: applied to the recurrence's output, (T, B, H), by the subclass.
        initial_state: a learned initial state; zeros where absent.
    """

    def __init__(
        self,
        embedding: TokenInput | NumberInput,
        recurrence: Recurrence,
        output: nn.Module,
        *,
        input_dropout: nn.Module,
        output_dropout: nn.Module,
        initial_state: LearnedState | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.recurrence = recurrence
        self.output = output
        self.input_dropout = input_dropout
        self.output_dropout = output_dropout
        self.initial_state = initial_state

    def features(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State, Extras]:
        """(T, B) tokens, or (T, B, I) numbers, to the output of the recurrence before dropout, (T, B, H), the state
        after it, and extras."""
        vectors = self.input_dropout(self.embedding(inputs, next(self.parameters()).dtype))
        if state is None and self.initial_state is not None:
            state = self.initial_state(self.recurrence.zero_state(vectors))
        features, state, extras = self.recurrence(vectors, state)
        return features, state, extras

    @abstractmethod
    def logits(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        """What the output layer makes of the features at every step, (T, B, ·), and the state after them."""

    def flops(self) -> float | None:
        """Floating point operations of a step in the forward pass, counted by `lsseq.nn.cost` as if everything was
        computed at every step; None where the recurrence does not tell.

        An embedding is looked up for nothing; one-hot input is a product as any other.
        """
        recurrence = self.recurrence.flops()
        return None if recurrence is None else recurrence + self.output_flops()

    @abstractmethod
    def output_flops(self) -> int:
        """Those of the output layer."""

    def at_epoch(self, epoch: int) -> None:
        self.recurrence.at_epoch(epoch)
