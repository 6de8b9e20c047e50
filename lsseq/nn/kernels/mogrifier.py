"""What a kernel of the Mogrifier LSTM is given, and the reference: a loop over the steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from lsseq.nn.cells.mogrifier import Gatings, MogrifierCell
from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.kernels.reference import loop

MogrifierKernel = Callable[[Tensor, States, Layer, Gatings], tuple[Tensor, States]]
"""(input (T, B, I), initial states (h, c), the LSTM, gatings) -> output (T, B, H), last states."""


def reference(x: Tensor, states: States, layer: Layer, gatings: Gatings) -> tuple[Tensor, States]:
    """The kernel that defines what every other one computes."""
    return loop(partial(MogrifierCell, gatings))(x, states, layer)
