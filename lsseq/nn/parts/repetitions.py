"""How often something that is repeated is repeated: a number that training may draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lsseq.nn.random import Draws, Kind


@dataclass(frozen=True)
class RandomSteps:
    """A random number of repetitions, one a call, from 1 to `most`: 1 + Poisson(λ), log λ normal.

    The heavy-tailed distribution of recurrent-depth models (Geiping et al. 2025), with λ of mean `mean` - 1. What is
    above `most` counts as `most`, so that the mean is a little smaller.

    Args:
        mean: of the number, at least 1; 1 always gives 1.
        most: the largest number.
        spread: standard deviation of log λ.

    Raises:
        ValueError: `mean` outside [1, most], or a negative spread.
    """

    mean: float
    most: int
    spread: float = 0.5

    def __post_init__(self) -> None:
        if not 1 <= self.mean <= self.most:
            raise ValueError(f"the mean of random steps should be in range [1, most={self.most}], got {self.mean}")
        if self.spread < 0:
            raise ValueError(f"spread should be at least 0, got {self.spread}")

    def draw(self, draws: Draws) -> int:
        """The number for one call, the same in every process that holds a part of its batch."""
        if self.mean == 1:
            return 1
        normal, poisson = Draws.of_the_call(draws.key, draws.layer).uniform(Kind.REPETITIONS, (1, 1, 2)).flatten()
        deviate = float(torch.special.ndtri((normal + 2**-33).clamp(max=1 - 2**-33)))
        rate = math.exp(math.log(self.mean - 1) - self.spread**2 / 2 + self.spread * deviate)
        count, p = 0, math.exp(-rate)
        below = p
        while float(poisson) >= below and count + 1 < self.most:
            count += 1
            p *= rate / count
            below += p
        return count + 1
