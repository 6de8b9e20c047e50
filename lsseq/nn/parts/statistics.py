"""Batch normalisation with statistics of each time step (Cooijmans et al. 2017).

Shape letters: T time, B batch, F features, N steps that have statistics of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lsseq.nn.shards import batch_mean, has_other_parts

EPSILON = 1e-5
MOMENTUM = 0.05
"""Weight of a new batch in the running averages: that of the authors' program for text."""


class StepNorm(nn.Module):
    """(u - mean) / √(var + ε) over the rows of the batch, with a mean and a variance for each step.

    In training these are the batch's, the variance divided by B, and running averages of both are kept for each of the
    first N steps; a later step counts as the last of them. Evaluation takes the averages.

    Args:
        features: F.
        steps: N, the length of the longest sequence in training.
    """

    mean: Tensor
    """(N, F), 0 at first."""
    variance: Tensor
    """(N, F), 1 at first."""

    def __init__(
        self,
        features: int,
        steps: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.momentum = MOMENTUM
        self.counts = torch.zeros(steps, 1, dtype=torch.float64)
        self.collects = False
        """Whether the statistics of batches are taken in evaluation too, each with the same weight."""
        self.register_buffer("mean", torch.zeros(steps, features, device=device, dtype=dtype))
        self.register_buffer("variance", torch.ones(steps, features, device=device, dtype=dtype))

    @property
    def of_batch(self) -> bool:
        """Whether the statistics are those of the batch; else they are the averages."""
        return self.training or self.collects

    def forward(self, u: Tensor, step: Tensor) -> Tensor:
        """u (B, F) or (T, B, F), normalised; `step` is the number of the (first) step of each row, (B,) int64.

        Raises:
            ValueError: in training, one row alone, or rows that are at different steps.
        """
        T = 1 if u.dim() == 2 else len(u)
        if not self.of_batch:
            mean, variance = self.averages(step, T)
            return ((u - mean) * torch.rsqrt(variance + EPSILON)).view(u.shape)
        first = common_step(step)
        mean = batch_mean(u.mean(-2))
        centred = u - mean.unsqueeze(-2)
        variance = batch_mean(centred.square().mean(-2))
        self.take(first, mean.detach().view(T, -1), variance.detach().view(T, -1))
        return centred * torch.rsqrt(variance + EPSILON).unsqueeze(-2)

    def averages(self, step: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of so many steps from the numbers `step` (S,) on, each (T, S, F)."""
        at = (step + torch.arange(steps, device=step.device).unsqueeze(1)).clamp(max=len(self.mean) - 1)
        return self.mean[at], self.variance[at]

    @torch.no_grad()
    def take(self, first: int, mean: Tensor, variance: Tensor) -> None:
        """Average the statistics (T, F) of a batch in, from step `first` on."""
        own = max(0, min(len(mean), len(self.mean) - first))
        at = slice(first, first + own)
        self.counts[at] += 1
        weight = self._weight(self.counts[at]).to(self.mean)
        for average, found in ((self.mean, mean), (self.variance, variance)):
            average[at] = average[at].lerp(found[:own].to(average), weight)
        if own < len(mean):
            self._take_later(mean[own:], variance[own:])

    def _take_later(self, mean: Tensor, variance: Tensor) -> None:
        """Average those of steps that have none of their own, (T, F), into the last ones, one after the other."""
        weights = self._weight(self.counts[-1] + torch.arange(1, len(mean) + 1))
        self.counts[-1] += len(mean)
        left = (1 - weights).flip(0).cumprod(0).flip(0)  # of what was there before each
        shares = weights * torch.cat([left[1:], torch.ones_like(left[:1])])
        for average, found in ((self.mean, mean), (self.variance, variance)):
            average[-1] = average[-1] * left[0].to(average) + shares.to(average) @ found.to(average)

    def _weight(self, count: Tensor) -> Tensor:
        """That of a batch in the averages, the last of so many."""
        return 1 / count if self.collects else torch.full_like(count, self.momentum)


def common_step(step: Tensor) -> int:
    """The number of the step that all rows of a batch are at, from that of each, (B,).

    Raises:
        ValueError: one row alone, or rows that are at different steps.
    """
    if (len(step) < 2 and not has_other_parts()) or bool((step != step[0]).any()):
        raise ValueError("batch normalisation is trained with two rows or more, all at the same step")
    return int(step[0])


class Statistics(NamedTuple):
    """What normalises an LSTM: its products with the input and with the state, and its cell."""

    input: StepNorm
    hidden: StepNorm
    cell: StepNorm


def step_norms(module: nn.Module) -> list[StepNorm]:
    """All that keep statistics in a module."""
    return [part for part in module.modules() if isinstance(part, StepNorm)]


@contextmanager
def recalibrating(module: nn.Module) -> Iterator[None]:
    """Takes the statistics of every `StepNorm` in a module anew, from the batches that are run inside the context.

    The module is in evaluation meanwhile, so that there is no dropout and zoneout in them, while each batch is still
    normalised by its own statistics; all batches have the same weight (the paper's evaluation). Each call of the module
    is a batch.
    """
    norms, training = step_norms(module), module.training
    module.eval()
    for norm in norms:
        norm.collects = True
        norm.counts.zero_()
    try:
        yield
    finally:
        module.train(training)
        for norm in norms:
            norm.collects = False
