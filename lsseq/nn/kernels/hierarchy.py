"""What a kernel of the HM-LSTM is given and gives, and the reference: a loop over steps and layers.

Shape letters: T time, B batch, H hidden, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lsseq.nn.cells.hmlstm import Finding, HMLSTMCell, HMState, HMWeights
from lsseq.nn.checks import check_rates
from lsseq.nn.parts.boundary import Detector, DetectorKind
from lsseq.nn.parts.zoneout import zoneout
from lsseq.nn.random import Draws, Kind

Tensors = tuple[Tensor, ...]


class HMOutput(NamedTuple):
    """What an HM-LSTM of L layers gives for T steps of B examples."""

    outputs: Tensors
    """h of each layer, (T, B, H_l)."""
    boundaries: Tensor
    """z of each layer below the top, (T, B, L-1)."""
    probabilities: Tensor
    """z̃ of each layer below the top, (T, B, L-1)."""
    sums: Tensor
    """s of each layer below the top, (T, B, L-1): of what the detector makes z̃, before the slope."""
    state: tuple[Tensors, Tensors, Tensors]
    """(h, c, z) after the last step, each of L layers: (B, H_l), (B, H_l), (B, 1)."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """The layers of one call, from the bottom to the top; the options are those of `lsseq.nn.HMLSTM`."""

    weights: Sequence[HMWeights]
    detector: DetectorKind
    slope: float
    gradient: Literal["product", "select"]
    holds: bool
    nested: bool
    flushes: bool
    copies_top: bool
    zoneout_cell: float
    zoneout_hidden: float
    key: int | None
    """Where masks and samples come from; None in evaluation."""
    forced: Tensor | None
    """(T, B, L-1): boundaries that take the place of those that are found."""
    straight_through: bool

    def __post_init__(self) -> None:
        # Rates are attributes of modules, which a schedule may have set to anything.
        check_rates(self, "zoneout_cell", "zoneout_hidden")

    def draws(self, layer: int) -> Draws | None:
        """The draws of a layer."""
        return None if self.key is None else Draws.here(self.key, layer)

    def numbers(self, layer: int, x: Tensor) -> Tensor | None:
        """(T, B, 1) in [0, 1): what a detector that samples compares its probabilities with."""
        draws = self.draws(layer)
        if draws is None or self.detector != "sample" or self.forced is not None:
            return None
        return draws.uniform(Kind.BOUNDARY, (*x.shape[:2], 1), x.device)


HMKernel = Callable[[Tensor, Sequence[HMState], Hierarchy], HMOutput]
"""(input (T, B, I), initial state of each layer, layers) -> results."""


def reference(x: Tensor, states: Sequence[HMState], hierarchy: Hierarchy) -> HMOutput:
    """The kernel that defines what every other one computes."""
    # Autocast multiplies what it likes, but states and masks are in the format of the weights.
    dtype = hierarchy.weights[0].bias.dtype
    x, states = x.to(dtype), [HMState(*(part.to(dtype) for part in state)) for state in states]
    cells = [make_cell(hierarchy, k, x) for k in range(len(hierarchy.weights))]
    T, B, L = x.shape[0], x.shape[1], len(cells)
    first, always = cells[0].from_below(x).unbind(0), x.new_ones(B, 1)
    passed: list[list[HMState]] = []
    findings: list[Finding] = []  # of each step, then of each layer
    before = list(states)
    for t in range(T):
        now: list[HMState] = []
        for k, cell in enumerate(cells):
            from_below = first[t] if k == 0 else cell.from_below(now[k - 1].h)
            z_below = always if k == 0 else now[k - 1].z
            above = before[k + 1].h if k + 1 < L else None
            state, finding = cell.step(from_below, z_below, above, before[k], t)
            now.append(state)
            if finding is not None:
                findings.append(finding)
        passed.append(now)
        before = now

    def by_layer(parts: list[Tensor]) -> Tensor:
        """(B, 1) of each step, then of each layer below the top, as (T, B, L-1)."""
        if L == 1:
            return x.new_empty(T, B, 0)
        return torch.stack(parts).view(T, L - 1, B).transpose(1, 2).contiguous()

    return HMOutput(
        outputs=tuple(torch.stack([step[k].h for step in passed]) for k in range(L)),
        boundaries=by_layer([layer.z for step in passed for layer in step[:-1]]),
        probabilities=by_layer([finding.probability for finding in findings]),
        sums=by_layer([finding.sum for finding in findings]),
        state=(
            tuple(layer.h for layer in before),
            tuple(layer.c for layer in before),
            tuple(layer.z for layer in before),
        ),
    )


def make_cell(hierarchy: Hierarchy, k: int, x: Tensor) -> HMLSTMCell:
    """The step of layer k for an input of the whole (T, B, I)."""
    weights, top = hierarchy.weights[k], k == len(hierarchy.weights) - 1
    H = weights.hidden.size
    draws, numbers = hierarchy.draws(k), None if top else hierarchy.numbers(k, x)
    detector = Detector(
        hierarchy.detector,
        hierarchy.slope,
        numbers=None if numbers is None else numbers.unbind(0),
        forced=None if hierarchy.forced is None or top else hierarchy.forced[..., k : k + 1].unbind(0),
        straight_through=hierarchy.straight_through,
    )
    return HMLSTMCell(
        weights,
        None if top else detector,
        keep_h=zoneout(hierarchy.zoneout_hidden, draws, Kind.ZONEOUT_HIDDEN, x, H),
        keep_c=zoneout(hierarchy.zoneout_cell, draws, Kind.ZONEOUT_CELL, x, H),
        gradient=hierarchy.gradient,
        flushes=hierarchy.flushes,
        copies_h=hierarchy.copies_top or not top,
        holds=hierarchy.holds,
        nested=hierarchy.nested,
    )
