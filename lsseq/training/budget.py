"""When a training logs, evaluates, saves and ends."""

from __future__ import annotations

from dataclasses import dataclass

from lsseq.recipe.schema import Training
from lsseq.training.state import LoopState


@dataclass(frozen=True)
class Budget:
    """The questions that the loop asks after each step, answered from the recipe and the state alone."""

    training: Training

    def log_due(self, state: LoopState) -> bool:
        return state.step % self.training.log_every == 0

    def evaluation_due(self, state: LoopState) -> bool:
        """Every `evaluate_every` steps, or at the end of each epoch."""
        every = self.training.evaluate_every
        return state.epoch_ended if every is None else state.step % every == 0

    def checkpoint_due(self, state: LoopState) -> bool:
        """Every `checkpoint_every` steps, or at each evaluation."""
        every = self.training.checkpoint_every
        return self.evaluation_due(state) if every is None else state.step % every == 0

    def ended(self, state: LoopState) -> bool:
        """Whether a budget is used up, or validation has stood still for too long."""
        training = self.training
        return (
            (training.steps is not None and state.step >= training.steps)
            or (training.epochs is not None and state.epoch >= training.epochs)
            or (training.minutes is not None and state.clock.total() >= 60.0 * training.minutes)
            or (training.early_stopping is not None and state.patience.waited >= training.early_stopping)
        )

    def done(self, state: LoopState) -> float:
        """The part of the budget that is used up, between 0 and 1."""
        training, windows = self.training, state.windows
        parts = [
            state.step / training.steps if training.steps else 0.0,
            state.tokens / (training.epochs * windows.tokens_per_epoch) if training.epochs else 0.0,
            state.clock.total() / (60.0 * training.minutes) if training.minutes else 0.0,
        ]
        return min(1.0, max(parts))
