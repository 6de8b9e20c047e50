"""What a kernel of the recurrent highway network is given, and the reference: a loop over the steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lsseq.nn.cells.rhn import Highways, RHNCell

RHNKernel = Callable[[Tensor, Tensor, Highways], tuple[Tensor, Tensor]]
"""(input (T, B, I), initial state (B, H), network) -> (output (T, B, H), last state)."""


def reference(x: Tensor, h: Tensor, network: Highways) -> tuple[Tensor, Tensor]:
    """The kernel that defines what every other one computes."""
    cell = RHNCell(x, network)
    h = h.to(cell.inputs.dtype)
    outputs = []
    # unbind, because the backward pass of indexing costs O(T) at every step.
    for t, x_t in enumerate(cell.inputs.unbind(0)):
        h = cell.step(x_t, h, t)
        outputs.append(h)
    return torch.stack(outputs), h
