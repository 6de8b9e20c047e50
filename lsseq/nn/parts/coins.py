"""Bernoulli tensors Θ: what y = Θ₁ ⊙ a + Θ₂ ⊙ b is mixed with, whatever it is called.

| | a | b | Θ₁ and Θ₂ | a coin for every |
|---|---|---|---|---|
| zoneout (Krueger et al. 2017) | old state | new state | complementary | step, row and unit |
| dropout | x | nothing | one alone | row and unit (and step) |
| stochastic depth (Huang et al. 2016) | what a layer reads | what it adds | Θ₁ = 1 | batch, row, or row and step |
| swapout (Singh et al. 2016) | what a layer reads | what it adds | independent | row and unit (and step) |
| SkipForward (Singh et al. 2016) | what a layer reads | what it adds | complementary | row and unit (and step) |
| drop-path (Larsson et al. 2017) | a column | a column | independent, at least one is 1 | batch or row |

Zoneout is thus SkipForward along time. All coins are those of `lsseq.nn.random`. In evaluation, without draws, the
probability of a 1 takes the place of the coin.

Shape letters: T time, B batch, H units, L parts (layers or columns).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from math import comb, prod
from typing import Literal

import torch
from torch import Tensor

from lsseq.nn.checks import check_member, check_rate
from lsseq.nn.random import Draws, Kind, rows_are_calls

Over = Literal["batch", "sequence", "step"]
"""How far one coin reaches: the whole batch of a call, all steps of a row, or one step of a row."""
Coupling = Literal["independent", "complementary", "equal"]
"""How two coins hang together: each by itself, Θ₂ = 1 - Θ₁, or Θ₂ = Θ₁."""
Theta = Tensor | float
"""A coin that was tossed, of 0 and 1, or a number that holds everywhere."""


def shape_of(x: Tensor, over: Over, units: int) -> tuple[int, int, int]:
    """The shape of the coins of a sequence x (T, B, ·): 1 in the place of what shares a coin."""
    T, B = x.shape[:2]
    return T if over == "step" else 1, 1 if of_the_batch(over) else B, units


def of_the_batch(over: Over) -> bool:
    """Whether all rows share a coin: not where each is a call of its own (`lsseq.nn.random.by_row`)."""
    return over == "batch" and not rows_are_calls()


def reaching(draws: Draws, over: Over) -> Draws:
    """The draws of coins that reach so far: one of the whole batch is the same in every process that holds a part, one
    of all steps in every part of the sequence."""
    if of_the_batch(over):
        return Draws.of_the_call(draws.key, draws.layer)
    return draws if over == "step" else draws.held()


@dataclass(frozen=True)
class Coin:
    """A Bernoulli tensor that is yet to be tossed."""

    kind: Kind
    rate: float
    """Probability of a 1."""
    over: Over = "step"

    def toss(self, draws: Draws | None, x: Tensor, units: int) -> Theta:
        """Θ for a sequence x (T, B, ·), in its format: (T, B, H), or 1 in the place of T and B; see `shape_of`.

        The number itself where the rate is 0 or 1, and in evaluation, without draws.
        """
        if draws is None or self.rate in (0.0, 1.0):
            return float(self.rate)
        shape = shape_of(x, self.over, units)
        return reaching(draws, self.over).mask(self.kind, self.rate, shape, x.device).to(x.dtype)


@dataclass(frozen=True)
class Pair:
    """Θ₁ and Θ₂ and how they are coupled; where they are not independent the second coin's rate plays no part."""

    first: Coin
    second: Coin
    coupling: Coupling = "independent"

    def toss(self, draws: Draws | None, x: Tensor, units: int) -> tuple[Theta, Theta]:
        """Both for a sequence x (T, B, ·); see `Coin.toss`."""
        first = self.first.toss(draws, x, units)
        if self.coupling == "independent":
            return first, self.second.toss(draws, x, units)
        return first, first if self.coupling == "equal" else 1 - first


def times(theta: Theta, x: Tensor) -> Tensor:
    """Θ ⊙ x, and x itself for 1."""
    return x if isinstance(theta, float) and theta == 1.0 else theta * x


def mix(first: Theta, a: Tensor, second: Theta, b: Tensor) -> Tensor:
    """Θ₁ ⊙ a + Θ₂ ⊙ b."""
    if isinstance(second, float):
        return times(first, a) + times(second, b)
    return torch.addcmul(times(first, a), second, b)


def survivors(draws: Draws, kind: Kind, rates: Sequence[float], shape: tuple[int, int, int], least: int) -> Tensor:
    """Which of L parts survive, a coin each, at least so many of them: bool (L, T, B, 1) on the CPU.

    Part l is drawn as layer l of the draws, with the rate of its own. Where fewer than `least` are left, as many as are
    missing are brought back, each that fell as likely as another (Larsson et al. 2017 for one).
    """
    numbers = torch.stack([replace(draws, layer=draws.layer + l).uniform(kind, shape) for l in range(len(rates))])
    rate = torch.tensor(rates, dtype=numbers.dtype).view(-1, 1, 1, 1)
    alive = numbers < rate
    if least == 0:
        return alive
    # Of a part that fell this is uniform in [0, 1), so that the lowest may be any of them.
    turn = torch.where(alive, -1.0, (numbers - rate) / (1 - rate))
    return alive | (turn.argsort(0).argsort(0) < least)


@lru_cache(maxsize=256)
def survival_rates(rates: tuple[float, ...], least: int) -> tuple[float, ...]:
    """The probability that each part survives when at least so many do: its rate, and that it is brought back."""
    L = len(rates)
    found = []
    for l, rate in enumerate(rates):
        counts = _how_many([*rates[:l], *rates[l + 1 :]])
        back = sum(p * (least - count) / (L - count) for count, p in enumerate(counts[:least]))
        found.append(rate + (1 - rate) * back)
    return tuple(found)


def survivals(rates: Sequence[float], least: int) -> Iterator[tuple[tuple[bool, ...], float]]:
    """What `survivors` can be, with probabilities above 0, the largest sets first; `survival_ways` says how many."""
    L = len(rates)
    for size in range(L, least - 1, -1):
        for alive in combinations(range(L), size):
            counts = _how_many([rates[l] for l in alive])
            p = counts[-1]
            if size == least:  # or so many of them survived, and the others were brought back
                p += sum(few / comb(L - count, least - count) for count, few in enumerate(counts[:-1]))
            p *= prod(1 - rates[l] for l in range(L) if l not in alive)
            if p > 0:
                yield tuple(l in alive for l in range(L)), p


def survival_ways(rates: Sequence[float], least: int) -> int:
    """The number of sets that `survivors` can be."""
    safe, lost = rates.count(1.0), rates.count(0.0)
    open_ = len(rates) - safe - lost
    return sum(comb(open_, k) * (comb(lost, least - safe - k) if safe + k < least else 1) for k in range(open_ + 1))


def _how_many(rates: Sequence[float]) -> list[float]:
    """The probability that 0, 1 … of these parts survive their coins."""
    counts = [1.0]
    for rate in rates:
        stay = [0.0, *(p * rate for p in counts)]
        counts = [a + b * (1 - rate) for a, b in zip(stay, [*counts, 0.0], strict=True)]
    return counts


def schedule(last: float, kind: Literal["linear", "constant"], layers: int, *, first_is_safe: bool) -> list[float]:
    """A rate for each of L layers: `last` for all, or linear down to `last` at the last one.

    The line starts at 1 at the first layer where that is safe (swapout), else at the input, one before it (stochastic
    depth).
    """
    check_member("schedule", kind, ("linear", "constant"))
    check_rate("a rate", last)
    if kind == "constant":
        return [last] * layers
    before, span = (1, max(1, layers - 1)) if first_is_safe else (0, layers)
    return [1 - (l - before) / span * (1 - last) for l in range(1, layers + 1)]
