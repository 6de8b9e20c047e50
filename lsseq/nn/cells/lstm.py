"""The LSTM's step, with zoneout, recurrent dropout and layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.parts.dropout import recurrent_dropout
from lsseq.nn.parts.products import add_product, affine, layer_norm
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Kind


class LSTMCell:
    """One step of an LSTM (Hochreiter and Schmidhuber 1997), in the order i, f, g, o of `torch.nn.LSTM`:

        i, f, g, o = N(W_ih x_t) + b_ih + N(W_hh h) + b_hh        N: nothing, or layer norm over all 4H
        c̃ = σ(f) ⊙ c + σ(i) ⊙ D(tanh(g))                         D: recurrent dropout
        h̃ = σ(o) ⊙ tanh(N(c̃))                                    tanh sees the new cell before zoneout
        h, c = Z_h(h, h̃), Z_c(c, c̃)                              Z: zoneout

    The products with x (T, B, I) are computed for all steps at once: `inputs` (T, B, 4H).
    """

    def __init__(self, layer: Layer, x: Tensor) -> None:
        weights, gains, draws = layer.weights, layer.gains, layer.draws
        H = weights.hidden.size
        self.weight, self.gains = weights.hidden, gains
        self.inputs = affine(x, weights.input, weights.bias, gains.input if gains else None, [4 * H])
        self.drop = recurrent_dropout(layer.recurrent_dropout, draws, self.inputs, H)
        self.keep_h = zoneout(layer.zoneout_hidden, draws, Kind.ZONEOUT_HIDDEN, self.inputs, H)
        self.keep_c = zoneout(layer.zoneout_cell, draws, Kind.ZONEOUT_CELL, self.inputs, H)

    def step(self, x_t: Tensor, state: States, t: int) -> States:
        h, c = state
        i, f, g, o = add_product(x_t, h, self.weight, self.gains.hidden if self.gains else None).chunk(4, dim=-1)
        new_c = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), self.drop(torch.tanh(g), t))
        new_h = torch.sigmoid(o) * torch.tanh(self._norm_cell(new_c))
        return self.keep_h(h, new_h, t), self.keep_c(c, new_c, t)

    def _norm_cell(self, c: Tensor) -> Tensor:
        if self.gains is None or self.gains.cell is None:
            return c
        return layer_norm(c, self.gains.cell, self.gains.cell_bias)
