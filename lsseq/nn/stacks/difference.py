"""What sets a virtual layer apart from others of the same cell: a low-rank matrix that is added to each weight."""

from __future__ import annotations

from operator import attrgetter

import torch
from torch import Tensor, nn

from lsseq.nn.state import State


class Difference(nn.Module):
    """W + A B in the place of each weight matrix W (rows, columns) of a cell, with A (rows, r) and B (r, columns).

    A starts at 0, so that nothing differs at first, and B uniform in ±1/√columns (LoRA, Hu et al. 2022; between layers
    that share, Bae et al. 2024).

    Args:
        cell: whose weights `weight_…` of two dimensions are meant; it stays outside.
        rank: r, above 0; matrices that are smaller have as much as they can.
    """

    def __init__(self, cell: nn.Module, rank: int) -> None:
        super().__init__()
        self.left, self.right = nn.ParameterDict(), nn.ParameterDict()
        for name, weight in cell.named_parameters():
            if name.startswith("weight_") and weight.dim() == 2:
                r = min(rank, *weight.shape)
                self.left[name] = nn.Parameter(torch.zeros_like(weight[:, :r]))
                self.right[name] = nn.Parameter(torch.empty_like(weight[:r]))
                nn.init.uniform_(self.right[name], -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)

    def forward(self, cell: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
        """What the cell makes of x (T, B, H) and a state with weights that differ."""
        # Not `get_parameter`: a transform may have put a tensor in the parameter's place.
        weights = {name: attrgetter(name)(cell) + self.left[name] @ self.right[name] for name in self.left}
        output, after = torch.func.functional_call(cell, weights, (x, state))
        return output, after
