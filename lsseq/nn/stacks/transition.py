"""Deep transition: one state goes through a cell several times a symbol."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lsseq.nn.checks import check_member
from lsseq.nn.parts.repetitions import RandomSteps
from lsseq.nn.random import finer
from lsseq.nn.stacks.parts import require_time_first
from lsseq.nn.state import State


class DeepTransition(nn.Module):
    """A cell that makes K steps a symbol and gives the state after the last of them:

        s_t = f(x_t, f(…, f(x_t, s_{t-1})))          K times f

    The transition is K layers deep that share their weights (deep transitions, Pascanu et al. 2014; their weights are
    their own there), which is the other reading of a residual network with shared weights (Liao and Poggio 2016). The
    cell's own options hold for each of its steps: zoneout at a rate z leaves z^K of the units as they were.

    Args:
        cell: a recurrence of `lsseq.nn` with x (T, B, I); of several layers each makes K steps.
        steps: K.
        injection: `every`: all K steps read the symbol; `first`: the others read zeros.
        random_steps: how many steps training makes, one draw a call; `steps` are made in evaluation.

    Raises:
        ValueError: no steps, an unknown name, or a cell with `batch_first`, `bidirectional` or `proj_size`.
    """

    def __init__(
        self,
        cell: nn.Module,
        steps: int,
        *,
        injection: Literal["every", "first"] = "every",
        random_steps: RandomSteps | None = None,
    ) -> None:
        super().__init__()
        check_member("injection", injection, ("every", "first"))
        require_time_first([cell])
        self.cell, self.injection, self.random_steps = cell, injection, random_steps
        self.input_size, self.hidden_size = cast(int, cell.input_size), cast(int, cell.hidden_size)
        self.steps = steps

    @property
    def steps(self) -> int:
        """K in evaluation, and in training unless there are `random_steps`."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"steps of a deep transition should be at least 1, got {steps}")
        self._steps = steps

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads x (T, B, I) on from a state of the cell: outputs (T, B, H) and the state after it."""
        steps = self.random_steps.take() if self.training and self.random_steps is not None else self.steps
        if self.injection == "every":
            ticks = x.repeat_interleave(steps, 0)
        else:
            silent = x.new_zeros(len(x), steps - 1, *x.shape[1:])
            ticks = torch.cat([x.unsqueeze(1), silent], dim=1).flatten(0, 1)
        with finer(steps):
            output, after = self.cell(ticks, state)
        return output[steps - 1 :: steps], after

    def zero_state(self, x: Tensor) -> State:
        """The initial state for an input (T, B, I): the cell's."""
        return cast(Any, self.cell).zero_state(x)

    def flops(self) -> float:
        """Floating point operations of the products with weights, for one row and symbol (`lsseq.nn.cost`)."""
        return self.steps * float(cast(Any, self.cell).flops())

    def extra_repr(self) -> str:
        return f"steps={self.steps}, injection={self.injection}, random_steps={self.random_steps}"
