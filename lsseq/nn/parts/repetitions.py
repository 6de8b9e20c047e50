"""How often something that is repeated is repeated: a number that training may draw."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch

from lsseq.nn.parts.choices import Choice, Outcome, settled
from lsseq.nn.random import Draws, Kind, draw_key


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

    def take(self, least: int = 1) -> int:
        """The number for one call, drawn unless it is settled; less than `least` count as these."""
        number = settled(partial(self._choice, least))
        return max(least, self.draw(Draws(draw_key()))) if number is None else int(number)

    def probabilities(self) -> list[float]:
        """Of 1, 2 … `most`, by integration over λ."""
        if self.mean == 1:
            return [1.0] + [0.0] * (self.most - 1)
        deviate = torch.linspace(-9, 9, 1801, dtype=torch.float64)  # the trapezoids are exact to rounding
        weight = torch.exp(-(deviate**2) / 2)
        log_rate = math.log(self.mean - 1) - self.spread**2 / 2 + self.spread * deviate
        count = torch.arange(self.most - 1, dtype=torch.float64).unsqueeze(1)
        of_each = torch.exp(count * log_rate - log_rate.exp() - torch.lgamma(count + 1))
        p: list[float] = ((of_each * weight).sum(1) / weight.sum()).tolist()
        return [*p, max(0.0, 1 - sum(p))]

    def _choice(self, least: int) -> Choice:
        p = self.probabilities()
        p = [0.0] * (least - 1) + [sum(p[:least]), *p[least:]]
        found = [Outcome(n, one, f"{n} step{'s' if n > 1 else ''}") for n, one in enumerate(p, start=1) if one > 0]
        return Choice(len(found), lambda: reversed(found))

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
