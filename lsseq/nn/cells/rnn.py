"""The step of the simple recurrent network, with zoneout and layer normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.parts.normalisation import affine
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
        H = weights.hidden.shape[1]
        self.weight, self.gain = weights.hidden.t(), None if gains is None else gains.hidden
        self.activation = torch.relu if layer.variant == "relu" else torch.tanh
        self.inputs = affine(x, weights.input, weights.bias, None if gains is None else gains.input, [H])
        self.keep_h = zoneout(layer.zoneout_hidden, layer.draws, Kind.ZONEOUT_HIDDEN, x, H)

    def step(self, x_t: Tensor, state: States, t: int) -> States:
        (h,) = state
        if self.gain is None:
            total = torch.addmm(x_t, h, self.weight)
        else:
            total = x_t + F.layer_norm(h @ self.weight, self.gain.shape, self.gain)
        return (self.keep_h(h, self.activation(total), t),)
