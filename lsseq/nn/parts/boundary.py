"""Boundary detectors: from a pre-activation to a boundary that is 0 or 1, and the gradient back through it.

Chung, Ahn and Bengio 2017, equations 7 to 9 and section 2.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

DetectorKind = Literal["step", "sample", "soft"]


def hard_sigmoid(s: Tensor, slope: float) -> Tensor:
    """max(0, min(1, (slope · s + 1) / 2)); its derivative is slope / 2 where |slope · s| < 1, else 0."""
    return (F.hardtanh(slope * s) + 1) / 2


@dataclass(frozen=True)
class Detector:
    """What makes a boundary z (B, 1) of a pre-activation s (B, 1), by way of a probability z̃ = hard_sigmoid(s)."""

    kind: DetectorKind
    """`step`: z = 1 where z̃ > 0.5. `sample`: z = 1 with probability z̃. `soft`: z = z̃."""
    slope: float
    numbers: tuple[Tensor, ...] | None = None
    """For `sample`: of each step, numbers (B, 1) in [0, 1); without them, in evaluation, it is as `step`."""
    forced: tuple[Tensor, ...] | None = None
    """Of each step, boundaries (B, 1) that take the place of those that are found."""
    straight_through: bool = True
    """Whether the gradient passes to z̃ through boundaries that are forced, as it does through those that are found."""

    def __call__(self, s: Tensor, t: int, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
        """Gives z̃ and z at step t. Where `allowed` (B, 1) is 0 no boundary is found."""
        probability = hard_sigmoid(s, self.slope)
        if self.forced is not None:
            z = self.forced[t].to(s.dtype)
            return probability, _straight_through(z, probability) if self.straight_through else z
        z = self._found(probability, t)
        return probability, z if allowed is None else z * allowed

    def _found(self, probability: Tensor, t: int) -> Tensor:
        if self.kind == "soft":
            return probability
        if self.kind == "sample" and self.numbers is not None:
            hard = self.numbers[t] < probability
        else:
            hard = probability > 0.5
        return _straight_through(hard.to(probability.dtype), probability)


def _straight_through(z: Tensor, probability: Tensor) -> Tensor:
    """z, whose derivative by the probability counts as 1 (Bengio et al. 2013)."""
    return z + (probability - probability.detach())
