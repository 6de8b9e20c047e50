"""The step of one layer of the HM-LSTM (Chung, Ahn and Bengio 2017), with zoneout and layer normalisation.

Shape letters: T time, B batch, H units of the layer, R = 4H + 1 rows of its weights, or 4H in the top layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lsseq.nn.parts.boundary import Detector
from lsseq.nn.parts.products import layer_norm
from lsseq.nn.parts.transition import Dense, Stacked, Transition
from lsseq.nn.parts.zoneout import Mix


@dataclass(frozen=True, eq=False)
class HMWeights:
    """The weights of a layer; rows in the order i, f, g, o, boundary."""

    below: Dense  # (R, units of the layer below)
    hidden: Transition | Stacked  # (R, H); the boundary's row is whole where the gates are of low rank
    above: Dense | None  # (R, units of the layer above)
    bias: Tensor  # (R,)
    below_gain: Tensor | None = None  # (4H,): layer norm, as all that follow
    hidden_gain: Tensor | None = None  # (4H,)
    above_gain: Tensor | None = None  # (4H,)
    cell_gain: Tensor | None = None  # (H,)
    cell_bias: Tensor | None = None  # (H,)


class HMState(NamedTuple):
    """The state of a layer: h (B, H), c (B, H) and the boundary z (B, 1), which stays 0 in the top layer."""

    h: Tensor
    c: Tensor
    z: Tensor


class Finding(NamedTuple):
    """What a layer's detector has at a step: its sum s and the probability z̃ of a boundary, (B, 1) each."""

    sum: Tensor
    probability: Tensor


def product(x: Tensor, weight: Transition | Stacked, gain: Tensor | None) -> Tensor:
    """x Wᵀ, its gates normalised where there is a gain; not the boundary's row, for the norm of one value is 0."""
    plain = weight.product(x)
    if gain is None:
        return plain
    gates, boundary = torch.split(plain, [len(gain), plain.shape[-1] - len(gain)], dim=-1)
    return torch.cat([layer_norm(gates, gain), boundary], dim=-1)


@dataclass(frozen=True, eq=False)
class HMLSTMCell:
    """One step of a layer. z and h_above are of the step before, z_b and h_below of this one (equations 1 to 9):

        i, f, g, o, s = N(U h) + z N(V h_above) + z_b N(W h_below) + b     N: nothing, or layer norm over the 4H gates
        c̃ = σ(i) ⊙ tanh(g)                        where z = 1             FLUSH
        c̃ = σ(f) ⊙ c + σ(i) ⊙ tanh(g)             where z = 0, z_b = 1    UPDATE
        c̃ = c                                     where z = 0, z_b = 0    COPY
        h̃ = σ(o) ⊙ tanh(N(c̃)), or h where it is COPY
        h, c = Z_h(h, h̃), Z_c(c, c̃)                                      Z: zoneout
        z = detector(s)

    Two gradients share this forward pass. With `product` the choice of the operation is a product with z and z_b: a
    detector learns what the operation that it brings about is worth. With `select` the choice is taken for given, and
    z and z_b learn through the two terms that they gate.
    """

    weights: HMWeights
    detector: Detector | None
    keep_h: Mix
    keep_c: Mix
    gradient: Literal["product", "select"] = "product"
    flushes: bool = True
    copies_h: bool = True
    """Without, h̃ = σ(o) ⊙ tanh(N(c̃)) where it is COPY too."""
    holds: bool = False
    """Whether no boundary is found where it is COPY."""
    nested: bool = False
    """Whether no boundary is found where the layer below has none."""

    def from_below(self, below: Tensor) -> Tensor:
        """N(W h_below), for one step or for all: (…, units below) to (…, R)."""
        return product(below, self.weights.below, self.weights.below_gain)

    def step(
        self, from_below: Tensor, z_below: Tensor, above: Tensor | None, state: HMState, t: int
    ) -> tuple[HMState, Finding | None]:
        """The state after step t, and what the detector has found, which the top layer has not."""
        weights, (h, c, z) = self.weights, state
        s = product(h, weights.hidden, weights.hidden_gain) + z_below * from_below + weights.bias
        if weights.above is not None and above is not None:
            s = s + z * product(above, weights.above, weights.above_gain)
        gates, boundary = torch.split(s, [4 * h.shape[1], s.shape[1] - 4 * h.shape[1]], dim=-1)
        i, f, g, o = gates.chunk(4, dim=-1)
        new = torch.sigmoid(i) * torch.tanh(g)
        flush, update, copy = self._operations(z, z_below)
        new_c = flush * new + update * torch.addcmul(new, torch.sigmoid(f), c) + copy * c
        new_h = torch.sigmoid(o) * torch.tanh(self._norm_cell(new_c))
        if self.copies_h:
            new_h = (1 - copy) * new_h + copy * h
        new_h, new_c = self.keep_h(h, new_h, t), self.keep_c(c, new_c, t)
        if self.detector is None:
            return HMState(new_h, new_c, z), None
        allowed = z_below.detach() if self.nested else (1 - copy).detach() if self.holds else None
        probability, z = self.detector(boundary, t, allowed)
        return HMState(new_h, new_c, z), Finding(boundary, probability)

    def _operations(self, z: Tensor, z_below: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How much FLUSH, UPDATE and COPY there is, (B, 1) each: one of them is 1 where boundaries are 0 or 1."""
        if self.gradient == "select":
            z, z_below = z.detach(), z_below.detach()
        flush = z if self.flushes else torch.zeros_like(z)
        return flush, (1 - flush) * z_below, (1 - flush) * (1 - z_below)

    def _norm_cell(self, c: Tensor) -> Tensor:
        """What the output's tanh sees; the cell that is carried stays as it is, or COPY would change it."""
        return c if self.weights.cell_gain is None else layer_norm(c, self.weights.cell_gain, self.weights.cell_bias)
