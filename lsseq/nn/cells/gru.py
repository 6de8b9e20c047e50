"""The GRU's step, with zoneout, recurrent dropout and layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.parts.dropout import recurrent_dropout
from lsseq.nn.parts.products import affine
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Kind


class GRUCell:
    """One step of a GRU, in the order r, z, n of `torch.nn.GRU`; z keeps the old state, as there:

        r, z = σ(N(W_i x_t) + b_i + N(W_h h) + b_h)                the rows of r and z
        n = tanh(N(W_in x_t) + b_in + r ⊙ (N(W_hn h) + b_hn))      reset after the product (cuDNN)
        n = tanh(N(W_in x_t) + b_in + N(W_hn (r ⊙ h)) + b_hn)      reset before it (Cho et al. 2014)
        h̃ = z ⊙ h + (1 - z) ⊙ D(n)                                D: recurrent dropout
        h = Z_h(h, h̃)                                             Z: zoneout

    N is nothing, or layer norm over the 2H rows of r and z and over the H rows of n (the code of Ba et al.).
    The products with x (T, B, I) are computed for all steps at once: `inputs` (T, B, 3H).
    """

    def __init__(self, layer: Layer, x: Tensor) -> None:
        weights, gains = layer.weights, layer.gains
        H = weights.hidden.size
        self.blocks = [2 * H, H]
        self.weight, self.bias = weights.hidden, weights.hidden_bias
        self.gain = gains.hidden if gains else None
        self.reset_before = layer.variant == "before"
        self.inputs = affine(x, weights.input, weights.input_bias, gains.input if gains else None, self.blocks)
        self.drop = recurrent_dropout(layer.recurrent_dropout, layer.draws, self.inputs, H)
        self.keep_h = zoneout(layer.zoneout_hidden, layer.draws, Kind.ZONEOUT_HIDDEN, self.inputs, H)
        if self.reset_before:
            none = (None, None)
            self.gates, self.candidate = zip(
                self.weight.split(self.blocks),
                none if self.bias is None else torch.split(self.bias, self.blocks),
                none if self.gain is None else torch.split(self.gain, self.blocks),
                strict=True,
            )

    def step(self, x_t: Tensor, state: States, t: int) -> States:
        (h,) = state
        x_rz, x_n = torch.split(x_t, self.blocks, dim=-1)
        if self.reset_before:
            r, z = torch.sigmoid(x_rz + affine(h, *self.gates, self.blocks[:1])).chunk(2, dim=-1)
            n = torch.tanh(x_n + affine(r * h, *self.candidate, self.blocks[1:]))
        else:
            h_rz, h_n = torch.split(affine(h, self.weight, self.bias, self.gain, self.blocks), self.blocks, dim=-1)
            r, z = torch.sigmoid(x_rz + h_rz).chunk(2, dim=-1)
            n = torch.tanh(torch.addcmul(x_n, r, h_n))
        new_h = torch.lerp(self.drop(n, t), h, z)
        return (self.keep_h(h, new_h, t),)
