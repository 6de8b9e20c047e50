"""Dynamic evaluation (Krause et al. 2018): the weights follow the text that was read.

After each segment, with g the gradient of its mean nll, θ₀ the trained weights and RMS the root mean square of the
gradients that the trained model has on training text,

    θ ← θ - η·g / (RMS + ε) + min(1, λ·RMS / mean RMS)·(θ₀ - θ)

elementwise: weights with large training gradients move less, and are pulled back more. The mean RMS is that over the
parameter tensors of each one's mean, as in the authors' program, so that published rates can be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lsseq.data.batches import Batch, evaluation_windows
from lsseq.model.base import SequenceModel
from lsseq.nn.state import State, detach_state
from lsseq.recipe import schema

STATISTICS_STREAMS = 100
"""Streams side by side in the pass over the training text: the authors' number, on which RMS and the rates depend."""
STATISTICS_TOKENS = 1_000_000
"""The pass reads so many tokens from the beginning of the training text, or all where there are fewer."""


class DynamicReader:
    """Reads segments, each with the weights that the earlier ones left; see `dynamic_reader`."""

    mode = "dynamic"

    def __init__(self, model: SequenceModel, rates: schema.DynamicEvaluation, statistics: Sequence[Tensor]) -> None:
        self.model = model
        self.window: int | None = rates.segment
        self.state: State = None
        mean = torch.stack([rms.mean() for rms in statistics]).mean().clamp(min=torch.finfo(torch.float32).tiny)
        self._weights = [
            _Weight(
                weight,
                trained=weight.detach().clone(),
                step=rates.lr / (rms + rates.epsilon),
                pull=(rates.decay * rms / mean).clamp(max=1.0),
            )
            for weight, rms in zip(_weights(model), statistics, strict=True)
        ]

    def read(self, batch: Batch, fresh: bool) -> Tensor:
        nll, self.state, gradients = _gradients(self.model, batch, None if fresh else self.state)
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.update(gradient)
        return nll

    def restore(self) -> None:
        """The trained weights again, to the bit."""
        with torch.no_grad():
            for weight in self._weights:
                weight.value.copy_(weight.trained)


@dataclass(frozen=True)
class _Weight:
    value: nn.Parameter
    trained: Tensor
    step: Tensor
    pull: Tensor

    @torch.no_grad()
    def update(self, gradient: Tensor) -> None:
        # In place: a segment is short, and memory for what stands between would take longer than the arithmetic.
        self.value.lerp_(self.trained, self.pull).addcmul_(self.step, gradient, value=-1)


@contextmanager
def dynamic_reader(
    model: SequenceModel, rates: schema.DynamicEvaluation, statistics: Sequence[Tensor]
) -> Iterator[DynamicReader]:
    """A reader whose model has its trained weights again when the context ends.

    Args:
        model: in evaluation mode while it reads.
        rates: the `evaluation.dynamic` section.
        statistics: from `gradient_statistics`.
    """
    reader = DynamicReader(model, rates, statistics)
    try:
        yield reader
    finally:
        reader.restore()


def gradient_statistics(
    model: SequenceModel,
    tokens: np.ndarray[Any, np.dtype[Any]],
    start: int | None,
    *,
    segment: int,
    device: torch.device | str,
) -> list[Tensor]:
    """RMS of the gradients of the trained model, a tensor a parameter.

    One pass over the first `STATISTICS_TOKENS` of the training text in `STATISTICS_STREAMS` streams: the gradients of
    the mean nll of each window of `segment` steps.

    Args:
        model: in evaluation mode.
        tokens: the training text, 1-D.
        start: the token fed before the first one; None for a zero vector.
        segment: steps of a window.
        device: where the model is.
    """
    tokens = tokens[:STATISTICS_TOKENS]
    streams = max(1, min(STATISTICS_STREAMS, len(tokens) // segment))
    squares = [torch.zeros_like(weight) for weight in _weights(model)]
    windows = 0
    state: State = None
    for window in evaluation_windows(tokens, start, streams=streams, window=segment):
        _, state, gradients = _gradients(model, window.batch.to(device), state)
        for square, gradient in zip(squares, gradients, strict=True):
            square.addcmul_(gradient, gradient)
        windows += 1
    return [(square / windows).sqrt_() for square in squares]


def _weights(model: nn.Module) -> list[nn.Parameter]:
    return list(model.parameters())


def _gradients(model: SequenceModel, batch: Batch, state: State) -> tuple[Tensor, State, list[Tensor]]:
    """The nll of a window (T, B), the state after it, and the gradients of the mean nll."""
    weights = _weights(model)
    # cuDNN has no backward pass for a recurrence in evaluation mode.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        score = model.score(batch, state)
        loss = score.nll.sum() / batch.tokens
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
    known = [
        torch.zeros_like(weight) if gradient is None else gradient
        for weight, gradient in zip(weights, gradients, strict=True)
    ]
    return score.nll.detach(), detach_state(score.state), known
