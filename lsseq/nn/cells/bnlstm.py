"""The step of an LSTM with recurrent batch normalisation, with zoneout and recurrent dropout.

Shape letters: T time, B batch, I input, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsseq.nn.kernels.layer import Gains, Layer, States
from lsseq.nn.parts.dropout import recurrent_dropout
from lsseq.nn.parts.statistics import Statistics
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Kind


class BatchNormCell:
    """One step of a batch-normalised LSTM (Cooijmans et al. 2017, equations 6 to 8):

        i, f, g, o = γ_x ⊙ N_t(W_ih x_t) + γ_h ⊙ N_t(W_hh h) + b      N_t: by the statistics of step t
        c̃ = σ(f) ⊙ c + σ(i) ⊙ D(tanh(g))                              the cell that is carried is not normalised
        h̃ = σ(o) ⊙ tanh(γ_c ⊙ N_t(c̃) + β_c)
        h, c = Z_h(h, h̃), Z_c(c, c̃)                                   D: recurrent dropout, Z: zoneout

    The products with x (T, B, I) are computed and normalised for all steps at once: `inputs` (T, B, 4H).
    """

    def __init__(self, first: Tensor, gains: Gains, statistics: Statistics, layer: Layer, x: Tensor) -> None:
        """`first`: the number of the first step of each row, (B,); gains and statistics are those of the layer."""
        weights, draws = layer.weights, layer.draws
        H = weights.hidden.size
        self.weight, self.gains, self.first, self.statistics = weights.hidden, gains, first, statistics
        normal = gains.input * statistics.input(weights.input.product(x), first)
        self.inputs = normal if weights.bias is None else normal + weights.bias
        self.drop = recurrent_dropout(layer.recurrent_dropout, draws, self.inputs, H)
        self.keep_h = zoneout(layer.zoneout_hidden, draws, Kind.ZONEOUT_HIDDEN, self.inputs, H)
        self.keep_c = zoneout(layer.zoneout_cell, draws, Kind.ZONEOUT_CELL, self.inputs, H)

    def step(self, x_t: Tensor, state: States, t: int) -> States:
        h, c = state
        at = self.first + t
        gates = torch.addcmul(x_t, self.gains.hidden, self.statistics.hidden(self.weight.product(h), at))
        i, f, g, o = gates.chunk(4, dim=-1)
        new_c = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), self.drop(torch.tanh(g), t))
        normal = self.gains.cell * self.statistics.cell(new_c, at)
        new_h = torch.sigmoid(o) * torch.tanh(normal if self.gains.cell_bias is None else normal + self.gains.cell_bias)
        return self.keep_h(h, new_h, t), self.keep_c(c, new_c, t)
