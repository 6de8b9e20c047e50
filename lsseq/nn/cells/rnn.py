"""The step of the simple recurrent network, with zoneout and layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.parts.products import add_product, affine
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Kind


class RNNCell:
    """One step of a simple recurrent network (Elman 1990):

        h̃ = φ(N(W_ih x_t) + b_ih + N(W_hh h) + b_hh)              φ: tanh or relu; N: nothing, or layer norm over H
        h = Z_h(h, h̃)                                             Z: zoneout

    The products with x (T, B, I) are computed for all steps at once: `inputs` (T, B, H).
    """

    def __init__(self, layer: Layer, x: Tensor) -> None:
        weights, gains = layer.weights, layer.gains
        H = weights.hidden.size
        self.weight, self.gain = weights.hidden, gains.hidden if gains else None
        self.activation = torch.relu if layer.variant == "relu" else torch.tanh
        self.inputs = affine(x, weights.input, weights.bias, gains.input if gains else None, [H])
        self.keep_h = zoneout(layer.zoneout_hidden, layer.draws, Kind.ZONEOUT_HIDDEN, self.inputs, H)

    def step(self, x_t: Tensor, state: States, t: int) -> States:
        (h,) = state
        new_h = self.activation(add_product(x_t, h, self.weight, self.gain))
        return (self.keep_h(h, new_h, t),)
