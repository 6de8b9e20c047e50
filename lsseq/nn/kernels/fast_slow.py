"""What a kernel of the fast-slow network is given, whose reference is the loop of `lsseq.nn.FastSlow`.

Shape letters: T time, B batch, H fast units, S slow units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from lsseq.nn.kernels.layer import Layer, States


@dataclass(frozen=True, eq=False)
class Turns:
    """The LSTM cells of one call."""

    cells: Sequence[Layer]
    """In the order of their turns within a step: the first fast one, the slow one, then the other fast ones."""
    seen: tuple[Tensor | None, Tensor | None]
    """Factors of what the slow cell (T or 1, B, H) and the second fast one (T or 1, B, S) read; None: 1."""


FastSlowKernel = Callable[[Tensor, States, States, Turns], tuple[Tensor, States, States]]
"""(input (T, B, I), initial states of the fast cells and of the slow one, (h, c) each, cells) -> output (T, B, H), last
states of both."""
