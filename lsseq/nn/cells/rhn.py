"""The recurrent highway network's step, with zoneout, dropout, low rank and layer normalisation.

Shape letters: T time, B batch, H units, K micro-layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lsseq.nn.parts.coins import Coin, Theta, times
from lsseq.nn.parts.dropout import recurrent_dropout
from lsseq.nn.parts.products import add_product, affine
from lsseq.nn.parts.transition import Dense, Transition
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Draws, Kind


@dataclass(frozen=True, eq=False)
class MicroLayer:
    """The weights of one micro-layer, the rows of the candidate before those of the gate."""

    hidden: Transition  # (2H, H)
    bias: Tensor  # (2H,)
    gain: Tensor | None  # (2H,): of a layer norm


class RHNCell:
    """One step of a recurrent highway network (Zilly et al. 2017, equations 6 to 9) with coupled gates, c = 1 - t:

        s_0 = h
        ĥ, t = N(W x_t)[k = 1] + N(R_k (m ⊙ s_{k-1})) + b_k      k = 1 … K; N: nothing, or layer norm over all 2H
        s_k = s_{k-1} + σ(t) ⊙ (D(tanh(ĥ)) - s_{k-1})            D: recurrent dropout
        h = Z(s_0, s_K)                                          Z: zoneout

    m is a dropout mask that is one and the same for all steps and micro-layers (variational dropout, Gal and Ghahramani
    2016). The products with x (T, B, I) are computed for all steps at once: `inputs` (T, B, 2H).
    """

    def __init__(
        self,
        x: Tensor,
        weight: Dense,
        gain: Tensor | None,
        micro_layers: Sequence[MicroLayer],
        draws: Draws | None,
        *,
        zoneout_hidden: float = 0.0,
        recurrent_drop: float = 0.0,
        state_drop: float = 0.0,
    ) -> None:
        H = micro_layers[0].hidden.size
        self.micro_layers = micro_layers
        self.inputs = affine(x, weight, micro_layers[0].bias, gain, [2 * H])
        self.keep = zoneout(zoneout_hidden, draws, Kind.ZONEOUT_HIDDEN, self.inputs, H)
        self.drops = [
            recurrent_dropout(recurrent_drop, draws and replace(draws, layer=k), self.inputs, H)
            for k in range(len(micro_layers))
        ]
        self.seen = _seen(state_drop, draws, self.inputs, H)

    def step(self, x_t: Tensor, h: Tensor, t: int) -> Tensor:
        """The state (B, H) after step t, whose inputs are x_t (B, 2H)."""
        s = h
        for k, (layer, drop) in enumerate(zip(self.micro_layers, self.drops, strict=True)):
            rest = x_t if k == 0 else layer.bias  # the first one's bias is in its input
            candidate, gate = add_product(rest, times(self.seen, s), layer.hidden, layer.gain).chunk(2, dim=-1)
            s = torch.lerp(s, drop(torch.tanh(candidate), t), torch.sigmoid(gate))
        return self.keep(h, s, t)


def _seen(rate: float, draws: Draws | None, inputs: Tensor, units: int) -> Theta:
    """The factors m (B, H) of inverted dropout, or 1."""
    if rate == 0.0 or draws is None:
        return 1.0
    dropped = Coin(Kind.STATE_DROPOUT, rate, "sequence").toss(draws, inputs, units)
    return (1 - dropped[0]) / (1 - rate) if isinstance(dropped, Tensor) else 0.0
