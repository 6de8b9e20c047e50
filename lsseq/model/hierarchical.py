"""The HM-LSTM as the recurrence of a language model: its output module, its slope over the epochs, a prior on its
boundaries.

Shape letters: T time, B batch, I input, E output, L layers, H_l units of layer l.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lsseq.nn as lnn
from lsseq.model.base import PENALTY, SUMS, Extras
from lsseq.model.recurrence import Recurrence
from lsseq.nn.cost import weight_flops
from lsseq.nn.shards import batch_mean
from lsseq.nn.state import State

Prior = Callable[[Tensor, Tensor], Tensor]
"""(boundaries, probabilities), (T, B, L-1) each, to a penalty a symbol in nats."""


class OutputModule(nn.Module):
    """h_e = ReLU(Σ_l g_l W_l h_l), with g_l = σ(w_l [h_1; …; h_L]) one number a layer and step, or 1 without gates.

    Chung, Ahn and Bengio 2017, equations 11 and 12; there are no biases.

    Args:
        sizes: H_l of each layer.
        output_size: E.
        gated: whether there are gates.
    """

    gates: nn.Parameter | None
    """(L, ΣH_l)."""

    def __init__(self, sizes: Sequence[int], output_size: int, *, gated: bool) -> None:
        super().__init__()
        self.sizes, self.output_size = list(sizes), output_size
        self.weight = nn.Parameter(torch.empty(output_size, sum(sizes)))
        self.register_parameter("gates", nn.Parameter(torch.empty(len(sizes), sum(sizes))) if gated else None)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -((1 / sum(sizes)) ** 0.5), (1 / sum(sizes)) ** 0.5)

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        """(T, B, H_l) of each layer to (T, B, E)."""
        h = torch.cat(list(outputs), dim=-1)
        if self.gates is not None:
            gates = torch.sigmoid(F.linear(h, self.gates))
            h = torch.cat([gates[..., l : l + 1] * output for l, output in enumerate(outputs)], dim=-1)
        return F.linear(h, self.weight).relu()

    def flops(self) -> int:
        """For one row and step; the layers' outputs are multiplied at every step."""
        return weight_flops(self, "weight") + weight_flops(self, "gates")

    def extra_repr(self) -> str:
        return f"{self.sizes}, {self.output_size}, gated={self.gates is not None}"


class Hierarchical(Recurrence):
    """An HM-LSTM with its output module.

    It tells `boundaries` and `probabilities`, (T, B, L-1), and for the log `boundary_rate` (L-1,) and `slope`; in
    training what its detectors can be taught by (`SUMS`); in evaluation (T, B, L) `updates`, whether a layer computed,
    and `norms` of the layers' outputs.

    Args:
        hm: the layers.
        output: what joins their outputs.
        slope: of the detectors' hard sigmoid after so many whole epochs.
        prior: what is added to the loss in training, or None.
    """

    slope: Tensor
    """The slope now, a buffer: soft boundaries need it in evaluation too."""

    def __init__(
        self, hm: lnn.HMLSTM, output: OutputModule, slope: Callable[[int], float], prior: Prior | None = None
    ) -> None:
        super().__init__()
        self.hm, self.output, self.prior = hm, output, prior
        self.output_size = output.output_size
        self._slope_at = slope
        self.register_buffer("slope", torch.tensor(slope(0)))
        self.register_load_state_dict_post_hook(Hierarchical._take_slope)  # type: ignore[no-untyped-call]
        self.at_epoch(0)

    def at_epoch(self, epoch: int) -> None:
        self.slope.fill_(self._slope_at(epoch))
        self.hm.slope = self._slope_at(epoch)

    def _take_slope(self, _: object) -> None:
        self.hm.slope = float(self.slope)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State, Extras]:
        result = self.hm(x, cast(Any, state))
        found = {"boundaries": result.boundaries, "probabilities": result.probabilities}
        extras: Extras = {name: value.detach() for name, value in found.items()}
        extras |= {"boundary_rate": extras["boundaries"].mean((0, 1)), "slope": self.slope}
        if not self.training:
            extras["norms"] = torch.stack([output.norm(dim=-1) for output in result.outputs], dim=-1)
            extras["updates"] = self._updates(result.boundaries, state)
        else:
            extras[SUMS] = result.sums
            if self.prior is not None:
                extras[PENALTY] = self._penalty(self.prior, result.boundaries, result.sums)
        return self.output(result.outputs), cast(State, result.state), extras

    def flops(self) -> float:
        return self.hm.flops() + self.output.flops()

    def flops_demanded(self, told: Extras) -> float:
        if self.hm.detector == "soft":
            return self.flops()
        below, changes = [1.0, *told["boundaries"].tolist()], told["updates"].tolist()
        return self.hm.flops(below, changes) + self.output.flops()

    def _penalty(self, prior: Prior, boundaries: Tensor, sums: Tensor) -> Tensor:
        """What the prior says, with the gradient of σ(2 a s), the hard sigmoid without its corners.

        The hard sigmoid itself passes none where it is 0 or 1, where a detector that went too far would stay. Nor does
        the gradient go back through the boundaries before, where it grows from step to step if boundaries are rare.
        """
        likely = torch.sigmoid(2 * self.hm.slope * sums)
        return prior(boundaries.detach() + likely - likely.detach(), likely)

    def _updates(self, z: Tensor, state: State) -> Tensor:
        """The layers that did not copy: those with a boundary of the layer below now, or of their own a step ago."""
        start = torch.zeros_like(z[:1]) if state is None else torch.cat(cast(Any, state)[2][:-1], dim=-1).unsqueeze(0)
        below = torch.cat([torch.ones_like(z[..., :1]), z], dim=-1)
        if not self.hm.flush:
            return below > 0
        own = torch.cat([torch.cat([start, z[:-1]]), torch.zeros_like(z[..., :1])], dim=-1)
        return (below > 0) | (own > 0)


def binomial_prior(rates: Sequence[float], weight: float) -> Prior:
    """-log p(k), where k of T steps having a boundary is binomial with a rate a layer; a symbol and layer, summed.

    As in dynamic token pooling (Nawrot et al. 2023).
    """

    def penalty(boundaries: Tensor, _: Tensor) -> Tensor:
        T = len(boundaries)
        k = boundaries.sum(0)
        rate = boundaries.new_tensor(rates)
        ways = torch.lgamma(k.new_tensor(T + 1.0)) - torch.lgamma(k + 1) - torch.lgamma(T - k + 1)
        log_p = ways + k * rate.log() + (T - k) * (1 - rate).log()
        return -weight * log_p.mean(0).sum() / T

    return penalty


def ratio_prior(rates: Sequence[float], weight: float) -> Prior:
    """The ratio loss of H-Net (Hwang et al. 2025) for a rate 1/N a layer: N / (N - 1) ((N - 1) F G + (1 - F) (1 - G)),
    F the share of boundaries and G the mean probability; 1 where both are the rate, less is impossible for F = G.
    """

    def penalty(boundaries: Tensor, probabilities: Tensor) -> Tensor:
        share, mean = batch_mean(boundaries.detach().mean((0, 1))), batch_mean(probabilities.mean((0, 1)))
        n = 1 / boundaries.new_tensor(rates)
        return weight * (n / (n - 1) * ((n - 1) * share * mean + (1 - share) * (1 - mean))).sum()

    return penalty
