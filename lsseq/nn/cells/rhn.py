"""The recurrent highway network's step, with zoneout, dropout, low rank and layer normalisation.

Shape letters: T time, B batch, I input, H units, K micro-layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lsseq.nn.checks import check_rates
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


@dataclass(frozen=True, eq=False)
class Highways:
    """A recurrent highway network in one call; the options are those of `lsseq.nn.RHN`."""

    input: Dense  # (2H, I)
    input_gain: Tensor | None  # (2H,): of a layer norm
    own: Sequence[MicroLayer]
    """The micro-layers, or the one that is run again and again."""
    depth: int
    """K: how many are run."""
    draws: Draws | None
    """Where the masks come from; None in evaluation."""
    zoneout_hidden: float = 0.0
    recurrent_dropout: float = 0.0
    state_dropout: float = 0.0

    def __post_init__(self) -> None:
        # Rates are attributes of modules, which a schedule may have set to anything.
        check_rates(self, "zoneout_hidden", "recurrent_dropout", "state_dropout")

    @property
    def tied(self) -> bool:
        """Whether one micro-layer is all there is; run once, it may be seen as either."""
        return len(self.own) == 1

    def layer(self, k: int) -> MicroLayer:
        """Micro-layer k."""
        return self.own[0 if self.tied else k]

    def layer_draws(self, k: int) -> Draws | None:
        """The draws of micro-layer k; those of the first are of the whole step too."""
        return None if self.draws is None else replace(self.draws, layer=k)

    def seen(self, x: Tensor, units: int) -> Theta:
        """m (B, H) for an input (T, B, ·), in its format, or a number that holds everywhere."""
        rate = self.state_dropout
        if rate == 0.0 or self.draws is None:
            return 1.0
        dropped = Coin(Kind.STATE_DROPOUT, rate, "sequence").toss(self.draws, x, units)
        return (1 - dropped[0]) / (1 - rate) if isinstance(dropped, Tensor) else 0.0


class RHNCell:
    """One step of a recurrent highway network (Zilly et al. 2017, equations 6 to 9) with coupled gates, c = 1 - t:

        s_0 = h
        ĥ, t = N(W x_t)[k = 1] + N(R_k (m ⊙ s_{k-1})) + b_k      k = 1 … K; N: nothing, or layer norm over all 2H
        s_k = s_{k-1} + σ(t) ⊙ (D(tanh(ĥ)) - s_{k-1})            D: recurrent dropout
        h = Z(s_0, s_K)                                          Z: zoneout

    m is a dropout mask that is one and the same for all steps and micro-layers (variational dropout, Gal and Ghahramani
    2016). The products with x (T, B, I) are computed for all steps at once: `inputs` (T, B, 2H).
    """

    def __init__(self, x: Tensor, network: Highways) -> None:
        first = network.layer(0)
        H = first.hidden.size
        self.inputs = affine(x, network.input, first.bias, network.input_gain, [2 * H])
        self.micro_layers = [network.layer(k) for k in range(network.depth)]
        self.keep = zoneout(network.zoneout_hidden, network.draws, Kind.ZONEOUT_HIDDEN, self.inputs, H)
        self.drops = [
            recurrent_dropout(network.recurrent_dropout, network.layer_draws(k), self.inputs, H)
            for k in range(network.depth)
        ]
        self.seen = network.seen(self.inputs, H)

    def step(self, x_t: Tensor, h: Tensor, t: int) -> Tensor:
        """The state (B, H) after step t, whose inputs are x_t (B, 2H)."""
        s = h
        for k, (layer, drop) in enumerate(zip(self.micro_layers, self.drops, strict=True)):
            rest = x_t if k == 0 else layer.bias  # the first one's bias is in its input
            candidate, gate = add_product(rest, times(self.seen, s), layer.hidden, layer.gain).chunk(2, dim=-1)
            s = torch.lerp(s, drop(torch.tanh(candidate), t), torch.sigmoid(gate))
        return self.keep(h, s, t)
