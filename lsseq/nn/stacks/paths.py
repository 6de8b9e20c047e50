"""Drop-path: which columns of a fractal network take part in a call (Larsson, Maire and Shakhnarovich 2017).

Shape letters: B batch, C columns, m columns that are joined.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Literal

import torch
from torch import Tensor

from lsseq.nn.checks import check_member, check_rate
from lsseq.nn.parts.coins import of_the_batch, reaching, survival_ways, survivals, survivors
from lsseq.nn.random import Draws, Kind, draw_key


@dataclass(frozen=True)
class DropPath:
    """What training drops of a fractal stack; in evaluation all columns take part.

    Args:
        rate: of a call that drops locally, the probability of dropping a column at each join by itself. One that would
            be left without any keeps one at random.
        global_share: the share of calls that keep one and the same column, any with the same probability, in the whole
            network.
        over: whether columns are dropped for the `batch` of a call, or of each row for the whole `sequence` in a call.
        state: whether layers that do not take part are computed for the sake of their states (`output`), or their
            states stay as they are (`freeze`); for the whole batch these are not computed.

    Raises:
        ValueError: a rate outside [0, 1], or an unknown name.
    """

    rate: float = 0.15
    global_share: float = 0.5
    over: Literal["batch", "sequence"] = "sequence"
    state: Literal["output", "freeze"] = "output"

    def __post_init__(self) -> None:
        check_rate("rate", self.rate)
        check_rate("global_share", self.global_share)
        check_member("over", self.over, ("batch", "sequence"))
        check_member("state", self.state, ("output", "freeze"))

    def choose(self, rows: int, columns: int, joins: Sequence[tuple[int, list[int]]]) -> list[Tensor]:
        """Which columns take part at each join in one call, bool (m, 1, B, 1) each on the CPU.

        Args:
            rows: B.
            columns: C.
            joins: the index of the first of the m layers that are joined, and their columns.
        """
        draws = Draws.here(draw_key())
        own = reaching(draws, self.over)
        shape = (1, 1 if of_the_batch(self.over) else rows, 1)
        together = self._globally(draws, rows)
        alone: list[Tensor] = []
        if together.any():
            number = replace(own, layer=own.layer + 1).uniform(Kind.PATH, shape)
            kept = (number * columns).long() + 1
            alone = [_one_column(kept, numbers) for _, numbers in joins]
        if together.all():
            return alone
        rate = 1 - self.rate
        each = [
            survivors(replace(own, layer=own.layer + first), Kind.DROP_PATH, [rate] * len(numbers), shape, least=1)
            for first, numbers in joins
        ]
        return [torch.where(together, *both) for both in zip(alone, each, strict=True)] if alone else each

    def _globally(self, draws: Draws, rows: int) -> Tensor:
        """Which rows of a call keep one column alone, bool (1, B, 1), 1 in the place of B where all do alike."""
        if self.global_share in (0, 1):
            return torch.full((1, 1, 1), self.global_share == 1)
        calls = (1, 1 if of_the_batch("batch") else rows, 1)
        return reaching(draws, "batch").uniform(Kind.PATH, calls) < self.global_share

    def ways(self, columns: int, joins: Sequence[list[int]]) -> int:
        """In how many ways the columns of these joins can be dropped for all rows of a call together."""
        local = prod(survival_ways([1 - self.rate] * len(numbers), 1) for numbers in joins)
        return (columns if self.global_share > 0 else 0) + (local if self.global_share < 1 else 0)

    def outcomes(self, columns: int, joins: Sequence[list[int]]) -> Iterator[tuple[Kept, float]]:
        """These ways with their probabilities."""
        if self.global_share < 1:
            each = [list(survivals([1 - self.rate] * len(numbers), 1)) for numbers in joins]
            for chosen in product(*each):
                yield tuple(alive for alive, _ in chosen), (1 - self.global_share) * prod(p for _, p in chosen)
        if self.global_share > 0:
            for column in range(columns, 0, -1):
                kept = [_one_column(torch.tensor(column), numbers) for numbers in joins]
                yield tuple(tuple(one.tolist()) for one in kept), self.global_share / columns


Kept = tuple[tuple[bool, ...], ...]
"""Which columns take part at each join."""


def _one_column(kept: Tensor, columns: list[int]) -> Tensor:
    """That column alone, (m, …) of a number of any shape; all where a join is not on its way, and so of no account."""
    alive = torch.stack([kept == column for column in columns])
    return alive | ~alive.any(0)
