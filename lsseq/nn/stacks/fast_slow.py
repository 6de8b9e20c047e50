"""The fast-slow stack: a state that several cells change in turns each step, and one that changes once.

Shape letters: T time, B batch, I input, H fast units, S slow units, k fast cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lsseq.nn.stacks.parts import run, zero_state
from lsseq.nn.state import State


class FastSlow(nn.Module):
    """Fast-slow recurrent network (Mujika, Meier and Steger 2017, section 3):

        h^{F1}_t = f_1(x_t, h^{Fk}_{t-1});  h^S_t = f_S(h^{F1}_t, h^S_{t-1})
        h^{F2}_t = f_2(h^S_t, h^{F1}_t);  h^{Fi}_t = f_i(0, h^{F(i-1)}_t), i = 3 … k

    The output is h^{Fk}_t. One state goes through all fast cells, k steps a symbol. Cells are called step by step, so
    that their masks are new in each of these calls, and PyTorch's or fused kernels are of little use.

    Args:
        fast: k ≥ 2 recurrences of H units: the first reads I, the second S, others read zeros of their input size.
        slow: a recurrence that reads H and has S units.
        dropout: applied to what the slow cell and the second fast one read, step by step.

    Raises:
        ValueError: fewer than two fast cells, or sizes that do not fit.
    """

    def __init__(self, fast: Sequence[nn.Module], slow: nn.Module, *, dropout: nn.Module | None = None) -> None:
        super().__init__()
        if len(fast) < 2:
            raise ValueError(f"a fast-slow stack needs at least two fast cells, got {len(fast)}")
        self.input_size, self.hidden_size = cast(int, fast[0].input_size), cast(int, fast[0].hidden_size)
        sizes = [(cell.input_size, cell.hidden_size) for cell in (slow, *fast[1:])]
        expected = [(self.hidden_size, slow.hidden_size), (slow.hidden_size, self.hidden_size)]
        if sizes[:2] != expected or any(size != self.hidden_size for _, size in sizes[2:]):
            raise ValueError(
                f"expected a slow cell that reads the {self.hidden_size} fast units, fast cells of as many units, "
                f"and a second one that reads the {slow.hidden_size} slow units; got (input, hidden) {sizes}"
            )
        self.fast, self.slow, self.dropout = nn.ModuleList(fast), slow, dropout

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads x (T, B, I) on from a state (fast, slow): outputs (T, B, H) and the state after it.

        Raises:
            ValueError: an input that is not (T, B, I), T > 0.
        """
        if x.dim() != 3 or len(x) == 0 or x.shape[-1] != self.input_size:
            raise ValueError(f"FastSlow: expected an input (T, B, {self.input_size}) with T > 0, got {tuple(x.shape)}")
        fast, slow = self.zero_state(x) if state is None else state
        silent = [x.new_zeros(1, x.shape[1], cast(int, cell.input_size)) for cell in self.fast[2:]]
        outputs = []
        for x_t in x.unsqueeze(1).unbind(0):
            h, fast = run(self.fast[0], x_t, fast)
            h, slow = run(self.slow, self._dropped(h), slow)
            h, fast = run(self.fast[1], self._dropped(h), fast)
            for cell, zeros in zip(self.fast[2:], silent, strict=True):
                h, fast = run(cell, zeros, fast)
            outputs.append(h)
        return torch.cat(outputs), (fast, slow)

    def zero_state(self, x: Tensor) -> tuple[State, State]:
        """The initial state for an input (T, B, I): zeros."""
        return zero_state(self.fast[0], x), zero_state(self.slow, x)

    def flops(self) -> float:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        return sum(float(cast(Any, cell).flops()) for cell in (*self.fast, self.slow))

    def _dropped(self, x: Tensor) -> Tensor:
        return x if self.dropout is None else self.dropout(x)
