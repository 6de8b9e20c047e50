"""The Mogrifier LSTM's step, with zoneout and recurrent dropout.

Shape letters: T time, B batch, I input, H units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.parts.dropout import recurrent_dropout
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Kind

Gatings = Sequence[Sequence[Tensor]]
"""Q^1, R^2, Q^3 …, each as the matrices whose product it is, the one that comes last first."""


class MogrifierCell:
    """One step of a Mogrifier LSTM (Melis, Kočiský and Blunsom 2020, equations 1 and 2):

        x^i = 2σ(Q^i h^{i-1}) ⊙ x^{i-2}          for odd i = 1 … r; x^{-1} = x_t, h^0 = h
        h^i = 2σ(R^i x^{i-1}) ⊙ h^{i-2}          for even i

    and an LSTM's step (`lsseq.nn.cells.lstm`) that reads the last x^i and h^i in the place of x_t and h. Zoneout keeps
    units of h itself.
    """

    def __init__(self, rounds: Gatings, layer: Layer, x: Tensor) -> None:
        weights, draws = layer.weights, layer.draws
        H = weights.hidden.size
        # Autocast multiplies what it likes, but states and masks are in the format of the weights.
        x = x.to(weights.hidden.dtype)
        self.inputs, self.weights, self.rounds, self.bias = x, weights, rounds, weights.bias
        self.drop = recurrent_dropout(layer.recurrent_dropout, draws, x, H)
        self.keep_h = zoneout(layer.zoneout_hidden, draws, Kind.ZONEOUT_HIDDEN, x, H)
        self.keep_c = zoneout(layer.zoneout_cell, draws, Kind.ZONEOUT_CELL, x, H)

    def step(self, x_t: Tensor, state: States, t: int) -> States:
        """The states (h, c), (B, H) each, after step t, whose input is x_t (B, I)."""
        h, c = state
        x, mogrified = x_t, h
        for number, factors in enumerate(self.rounds):
            if number % 2 == 0:
                x = 2 * torch.sigmoid(_product(factors, mogrified)) * x
            else:
                mogrified = 2 * torch.sigmoid(_product(factors, x)) * mogrified
        gates = self.weights.hidden.add_product(self.weights.input.product(x, self.bias), mogrified)
        i, f, g, o = gates.chunk(4, dim=-1)
        new_c = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), self.drop(torch.tanh(g), t))
        new_h = torch.sigmoid(o) * torch.tanh(new_c)
        return self.keep_h(h, new_h, t), self.keep_c(c, new_c, t)


def _product(factors: Sequence[Tensor], x: Tensor) -> Tensor:
    """The product of some matrices with each row of x."""
    for factor in reversed(factors):
        x = F.linear(x, factor)
    return x
