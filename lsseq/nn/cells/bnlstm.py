"""The step of an LSTM with recurrent batch normalisation, with zoneout.

Shape letters: T time, B batch, I input, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lsseq.nn.kernels.layer import Gains, Layer, States
from lsseq.nn.parts.statistics import StepNorm
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Kind


class BatchNormCell:
    """One step of a batch-normalised LSTM (Cooijmans et al. 2017, equations 6 to 8):

        i, f, g, o = γ_x ⊙ N_t(W_ih x_t) + γ_h ⊙ N_t(W_hh h) + b      N_t: by the statistics of step t
        c̃ = σ(f) ⊙ c + σ(i) ⊙ tanh(g)                                 the cell that is carried is not normalised
        h̃ = σ(o) ⊙ tanh(γ_c ⊙ N_t(c̃) + β_c)
        h, c = Z_h(h, h̃), Z_c(c, c̃)                                   Z: zoneout

    The products with x (T, B, I) are computed and normalised for all steps at once: `inputs` (T, B, 4H).
    """

    def __init__(
        self, layer: Layer, gains: Gains, norms: tuple[StepNorm, StepNorm, StepNorm], x: Tensor, step: Tensor
    ) -> None:
        """`norms`: those of W_ih x, W_hh h and c; `step`: the number of the first step of each row, (B,)."""
        weights, draws = layer.weights, layer.draws
        H = weights.hidden.size
        self.weight, self.gains, self.first = weights.hidden, gains, step
        of_input, self.of_hidden, self.of_cell = norms
        bias = weights.input_bias
        self.inputs = torch.addcmul(bias, gains.input, of_input(weights.input.product(x), step))  # type: ignore[arg-type]
        self.keep_h = zoneout(layer.zoneout_hidden, draws, Kind.ZONEOUT_HIDDEN, x, H)
        self.keep_c = zoneout(layer.zoneout_cell, draws, Kind.ZONEOUT_CELL, x, H)

    def step(self, x_t: Tensor, state: States, t: int) -> States:
        """The states (h, c), (B, H) each, after step t, whose inputs are x_t (B, 4H)."""
        h, c = state
        at = self.first + t
        gates = torch.addcmul(x_t, self.gains.hidden, self.of_hidden(self.weight.product(h), at))
        i, f, g, o = gates.chunk(4, dim=-1)
        new_c = torch.addcmul(torch.sigmoid(f) * c, torch.sigmoid(i), torch.tanh(g))
        normal = torch.addcmul(self.gains.cell_bias, self.gains.cell, self.of_cell(new_c, at))  # type: ignore[arg-type]
        new_h = torch.sigmoid(o) * torch.tanh(normal)
        return self.keep_h(h, new_h, t), self.keep_c(c, new_c, t)
