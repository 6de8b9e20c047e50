"""How far a figure of a text would be from that of other text of the same kind: a confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

NORMAL = 1.959964
"""Of the normal distribution 95 % lies within so many standard deviations."""
BLOCKS = 100
"""Blocks that a text is cut into; fewer where they would be shorter than their number."""
FEWEST = 10
"""From fewer blocks no interval is computed."""


@dataclass(frozen=True)
class Interval:
    """Two ends of a mean, and how they were found."""

    low: float
    high: float
    blocks: int
    length: int
    """Tokens of a block."""

    def __str__(self) -> str:
        return f"95 %, normal approximation over the means of {self.blocks} blocks of {self.length:,} tokens"


def mean_interval(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Interval | None:
    """The 95 % interval of the mean of a stationary sequence by the method of batch means.

    Neighbouring tokens depend on each other, so each is worth less than an independent one. The means of long blocks
    hardly depend on each other, and their spread tells that of the whole mean (Law and Carson 1979; Flegal and Jones
    2010). It holds for the model as it is: how figures differ from seed to seed is another question.

    Args:
        values: one a token, in the order of the text.

    Returns:
        None where there are fewer than 100 values.
    """
    blocks = min(BLOCKS, math.isqrt(len(values)))
    if blocks < FEWEST:
        return None
    length = len(values) // blocks
    means = values[: blocks * length].reshape(blocks, length).mean(axis=1)
    reach = NORMAL * float(means.std(ddof=1)) / math.sqrt(blocks)
    mean = float(values.mean())
    return Interval(mean - reach, mean + reach, blocks, length)


def share_interval(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of Wilson (1927) of a share among `count` independent answers."""
    weight = NORMAL**2 / count
    middle = (share + weight / 2) / (1 + weight)
    reach = math.sqrt(weight * share * (1 - share) + weight**2 / 4) / (1 + weight)
    return max(0.0, middle - reach), min(1.0, middle + reach)
