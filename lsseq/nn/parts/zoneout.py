"""Zoneout (Krueger et al. 2017): a unit keeps its old value at a step with some probability."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lsseq.nn.parts.coins import Coin
from lsseq.nn.random import Draws, Kind

Mix = Callable[[Tensor, Tensor, int], Tensor]
"""(old state, new state, step) -> the state that is carried on."""


def zoneout(rate: float, draws: Draws | None, kind: Kind, inputs: Tensor, units: int) -> Mix:
    """How old and new state (B, units) are mixed at each step of inputs (T, B, ·).

    In training, d ⊙ old + (1 - d) ⊙ new with a mask d for every step, example and unit, 1 with probability `rate`;
    nothing is rescaled. In evaluation, without draws, the rate takes the place of the mask.
    """
    if rate == 0.0:
        return lambda _old, new, _t: new
    kept = Coin(kind, rate).toss(draws, inputs, units)
    if isinstance(kept, float):
        return lambda old, new, _t: torch.lerp(new, old, kept)
    # As numbers, because lerp is exact at 0 and 1, and several times faster than where in both passes.
    keeps = kept.unbind(0)
    return lambda old, new, t: torch.lerp(new, old, keeps[t])
