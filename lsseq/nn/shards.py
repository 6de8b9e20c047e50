"""Rows that are a part of a larger batch, whose other rows other processes compute (data parallelism)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from lsseq.nn.random import first_row

Mean = Callable[[Tensor], Tensor]
"""A tensor to its mean over all parts of the batch, which have as many rows each; differentiable."""

_mean: ContextVar[Mean | None] = ContextVar("lsseq_batch_mean", default=None)


@contextmanager
def part_of_batch(row: int, mean: Mean | None) -> Iterator[None]:
    """Says that every batch in this context is a part of a larger one.

    Args:
        row: where it begins in the whole batch: masks are drawn for these rows (`lsseq.nn.random`).
        mean: gives means over the whole batch what they need of the other parts; None where there are no others.
    """
    token = _mean.set(mean)
    try:
        with first_row(row):
            yield
    finally:
        _mean.reset(token)


def has_other_parts() -> bool:
    """Whether there are other rows than those at hand."""
    return _mean.get() is not None


def batch_mean(mean: Tensor) -> Tensor:
    """The mean over the whole batch, from that over the rows at hand."""
    of_all = _mean.get()
    return mean if of_all is None else of_all(mean)
