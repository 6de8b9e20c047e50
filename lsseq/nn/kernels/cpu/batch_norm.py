"""Batch norm of a sequence: the statistics that the library is given, or finds.

Shape letters: T time, B batch, H hidden, G gates, F features, S sets of statistics a step.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.gradients import Arrays
from lsseq.nn.parts.statistics import Statistics, StepNorm, common_step


class _Moments(NamedTuple):
    """The statistics of each step."""

    mean: Tensor
    """(T, S, F)"""
    variance: Tensor
    """(T, S, F)"""
    sets: int
    """S where they are given: 1, or one for each row. 0 where they are those of the rows, which are one set."""


class BatchNorm:
    """What normalises the products with the input, those with the state, and the cell, in one call."""

    def __init__(self, statistics: Statistics, step: Tensor, x: Tensor) -> None:
        """`step`: the number of the first step of each row of the input x (T, B, I), (B,) int64.

        Raises:
            ValueError: the statistics are those of the rows, and there is one alone, or rows are at different steps.
        """
        self._statistics = statistics
        self._first = common_step(step) if any(norm.of_batch for norm in statistics) else 0
        numbers = step[:1] if bool((step == step[:1]).all()) else step
        numbers = numbers if len(numbers) else step.new_zeros(1)
        self._moments = [_moments(norm, numbers, x) for norm in statistics]

    @property
    def sets(self) -> tuple[int, ...]:
        """As of `_Moments`, for each of the three."""
        return tuple(moments.sets for moments in self._moments)

    def arrays(self, inputs: Tensor, units: int, *, saves: bool) -> Arrays:
        """The statistics, and room for the normalised products (T, B, G·H) where they are saved."""
        found: Arrays = {}
        for of, moments in zip(("input_", "", "cell_"), self._moments, strict=True):
            found |= {f"{of}mean": moments.mean, f"{of}variance": moments.variance}
        T, B, columns = inputs.shape
        padded = native.padded_units(units, inputs.dtype) * (columns // units)
        return found | {name: inputs.new_empty(T, B, padded) for name in ("input_normal", "normal") if saves}

    def finish(self) -> None:
        """After the forward pass: what it found of the rows goes into the averages."""
        for norm, moments in zip(self._statistics, self._moments, strict=True):
            if moments.sets == 0:
                norm.take(self._first, moments.mean.squeeze(1), moments.variance.squeeze(1))


def _moments(norm: StepNorm, numbers: Tensor, x: Tensor) -> _Moments:
    """The averages for steps from these numbers on, (S,), or room for the statistics of the rows."""
    if not norm.of_batch:
        mean, variance = norm.averages(numbers, len(x))
        return _Moments(mean.to(x.dtype), variance.to(x.dtype), len(numbers))
    mean, variance = (x.new_empty(len(x), 1, norm.mean.shape[1]) for _ in range(2))
    return _Moments(mean, variance, 0)
