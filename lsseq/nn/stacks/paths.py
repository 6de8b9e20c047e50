"""Drop-path: which columns of a fractal network take part in a call (Larsson, Maire and Shakhnarovich 2017).

Shape letters: B batch, C columns, m columns that are joined.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from lsseq.nn.checks import check_member, check_rate
from lsseq.nn.parts.coins import of_the_batch, reaching, survivors
from lsseq.nn.random import Draws, Kind


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

    def choose(self, draws: Draws, rows: int, columns: int) -> Choice:
        """What is dropped in one call."""
        own = reaching(draws, self.over)
        shape = (1, 1 if of_the_batch(self.over) else rows, 1)
        locally = partial(_by_themselves, own, 1 - self.rate, shape)
        if self.global_share == 0:
            return locally
        number = replace(own, layer=own.layer + 1).uniform(Kind.PATH, shape)
        globally = partial(_one_column, (number * columns).long() + 1)
        if self.global_share == 1:
            return globally
        calls = (1, 1 if of_the_batch("batch") else rows, 1)
        together = reaching(draws, "batch").uniform(Kind.PATH, calls) < self.global_share
        if together.all():
            return globally
        return partial(_either, together, globally, locally) if together.any() else locally


Choice = partial[Tensor]
"""(index of the first of m columns that are joined, their numbers) -> which take part, bool (m, 1, B, 1) on the CPU."""


def _one_column(kept: Tensor, _: int, columns: list[int]) -> Tensor:
    """That column alone; all where a join is not on its way, and so does not matter."""
    alive = torch.stack([kept == column for column in columns])
    return alive | ~alive.any(0)


def _either(together: Tensor, globally: Choice, locally: Choice, first: int, columns: list[int]) -> Tensor:
    """The one choice or the other, each row (1, B, 1) by itself."""
    return torch.where(together, globally(first, columns), locally(first, columns))


def _by_themselves(draws: Draws, rate: float, shape: tuple[int, int, int], first: int, columns: list[int]) -> Tensor:
    at = replace(draws, layer=draws.layer + first)
    return survivors(at, Kind.DROP_PATH, [rate] * len(columns), shape, least=1)
