"""What a kernel is given: one layer of one forward call. Every back end of a recurrence has the signature `Kernel`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lsseq.nn.checks import check_rates
from lsseq.nn.parts.statistics import Statistics
from lsseq.nn.parts.transition import Transition
from lsseq.nn.random import Draws

States = tuple[Tensor, ...]
"""The recurrent state, the output first: (h, c) of an LSTM, (h,) of a GRU or RNN; each (B, H). With batch norm last the
number of steps before, (B, 1)."""


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one layer, G gates; the row blocks are in the order of `torch.nn`."""

    input: Transition  # (G·H, I)
    hidden: Transition  # (G·H, H)
    input_bias: Tensor | None = None  # (G·H,)
    hidden_bias: Tensor | None = None  # (G·H,)
    projection: Tensor | None = None  # (P, H), an LSTM with a projected state, whose hidden weights are (G·H, P)

    @property
    def bias(self) -> Tensor | None:
        """The sum of both biases, which is all that matters unless one of them is gated by itself."""
        if self.input_bias is None or self.hidden_bias is None:
            return None
        return self.input_bias + self.hidden_bias


@dataclass(frozen=True, eq=False)
class Gains:
    """The learned scales of normalisation: of layer norm, or where there are statistics of batch norm."""

    input: Tensor  # (G·H,)
    hidden: Tensor  # (G·H,)
    cell: Tensor | None = None  # (H,), LSTM
    cell_bias: Tensor | None = None  # (H,), LSTM with biases
    statistics: Statistics | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of one call: what computes a sequence of outputs from inputs and a state."""

    weights: Weights
    draws: Draws | None
    """Where the masks come from; None in evaluation, where rates take the place of masks."""
    gains: Gains | None = None
    zoneout_cell: float = 0.0
    zoneout_hidden: float = 0.0
    recurrent_dropout: float = 0.0
    variant: str = ""
    """`after` or `before` (reset of the GRU); `tanh` or `relu` (RNN)."""
    every_step: bool = False
    """Whether the states after every step are asked for."""

    def __post_init__(self) -> None:
        # Rates are attributes of modules, which a schedule may have set to anything.
        check_rates(self, "zoneout_cell", "zoneout_hidden", "recurrent_dropout")


def step_numbers(states: States) -> Tensor:
    """With batch norm the number of the first step of each row, (B,) int64."""
    return states[-1][:, 0].round().long()


def counted(states: States, x: Tensor, layer: Layer) -> States:
    """With batch norm the count after an input x (T, B, I), or after every step, where the states are these before."""
    if layer.gains is None or layer.gains.statistics is None:
        return ()
    count = states[-1]
    steps = torch.arange(1, len(x) + 1, device=count.device).view(-1, 1, 1) if layer.every_step else len(x)
    return (count + steps,)


Kernel = Callable[[Tensor, States, Layer], tuple[Tensor, States]]
"""(input (T, B, I), initial states, layer) -> (output (T, B, H), last states; or those of every step, (T, B, H))."""
