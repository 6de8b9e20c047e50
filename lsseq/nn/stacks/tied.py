"""Stacks whose layers share their weights.

Shape letters: T time, B batch, H width, K virtual layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lsseq.nn.checks import check_member
from lsseq.nn.parts.repetitions import RandomSteps
from lsseq.nn.stacks.difference import Difference
from lsseq.nn.stacks.parts import Stack, norms, width_of, zero_state
from lsseq.nn.state import State

Pattern = Literal["cycle", "sequence", "middle"]
"""Which cell a virtual layer is: A B A B, A A B B, or the first and the last by themselves and the rest as a cycle."""
Injection = Literal["none", "added", "learned"]
"""Whether virtual layers above the first read the input of the stack too, and how it is weighted: not, by 1, by α_k."""


class TiedStack(Stack):
    """A residual stack of K virtual layers made of few cells; each layer has a state and a norm of its own:

        u_k = u_{k-1} + f(N_k(u_{k-1} + α_k u_0))          f: the cell of layer k; u_0 = x, α_1 = 0

    A residual network with shared weights is a recurrent network along its depth (Liao and Poggio 2016); the norms are
    the counterpart of that paper's normalisation of each time by itself. Own states, the patterns and what is done
    beyond the trained depth are this project's adaptation to recurrent layers.

    The state is a tuple, one item a virtual layer that was ever run; with the pattern `middle` the first is the last
    layer's. More layers than the stack was made with (`steps`) have the norm, the α and the difference of the last one.

    Args:
        cells: recurrences that read and give (T, B, H).
        steps: K.
        pattern: see `Pattern`; a cycle where `middle` has its middle.
        injection: see `Injection`; α_k starts at 1.
        random_steps: how many layers training runs, one draw a call; `steps` are run in evaluation.
        state: with `random_steps`, whether layers above the drawn number are computed for the sake of their states, and
            only their output is not used (`output`), or their states stay as they are (`freeze`), which saves time.
        difference_rank: adds to each cell's weight matrices, in each virtual layer, a matrix of this rank, which starts
            at 0 (relaxed sharing, Bae et al. 2024).
        dropout: applied to what the second layer and those above read, after the norm.

    Raises:
        ValueError: widths that do not fit, an unknown name, more cells than layers, or a `middle` without one.
    """

    alphas: nn.Parameter | None
    """α of each layer above the first, (K - 1,), where they are learned."""

    def __init__(
        self,
        cells: Sequence[nn.Module],
        steps: int,
        *,
        pattern: Pattern = "cycle",
        injection: Injection = "added",
        random_steps: RandomSteps | None = None,
        state: Literal["output", "freeze"] = "output",
        difference_rank: int | None = None,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.hidden_size = width_of(cells)
        check_member("pattern", pattern, get_args(Pattern))
        check_member("injection", injection, get_args(Injection))
        check_member("state", state, ("output", "freeze"))
        if pattern == "middle" and len(cells) < 3:
            raise ValueError(f"pattern='middle' needs a first, a last and a middle cell, got {len(cells)} cells")
        if steps < len(cells):
            raise ValueError(f"{len(cells)} cells need at least as many steps, got {steps}")
        self.cells = nn.ModuleList(cells)
        self.pattern, self.injection, self.state = pattern, injection, state
        self.random_steps, self.dropout = random_steps, dropout
        self.depth = max(steps, random_steps.most if random_steps else 0)
        """Virtual layers with a norm of their own."""
        self.norms = norms(self.depth, self.hidden_size, cells[0])
        weight = next(cells[0].parameters())
        alphas = nn.Parameter(torch.ones(self.depth - 1, device=weight.device, dtype=weight.dtype))
        self.register_parameter("alphas", alphas if injection == "learned" else None)
        self._coda = int(pattern == "middle")
        self.differences = nn.ModuleList()
        if difference_rank is not None:
            of_each = [*(self._cell(k) for k in range(self.depth - self._coda)), *cells[len(cells) - self._coda :]]
            self.differences.extend(Difference(cell, difference_rank) for cell in of_each)
        self._steps = steps

    @property
    def steps(self) -> int:
        """K in evaluation, and in training unless there are `random_steps`."""
        return self._steps

    @steps.setter
    def steps(self, steps: int) -> None:
        if steps < self._least:
            raise ValueError(f"steps of this stack should be at least {self._least}, got {steps}")
        self._steps = steps

    @property
    def _least(self) -> int:
        """The fewest layers: a `middle` has its first, its last and one between them."""
        return 3 if self._coda else 1

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads x (T, B, H) on from a state: u_K (T, B, H) and the state after it.

        Raises:
            ValueError: shapes that do not fit.
        """
        steps, run = self._count()
        states, coda = self._states(x, state, run), self._coda
        u = read_out = x
        for k in range(run - coda):
            own = min(k, self.depth - 1 - coda)
            u, states[coda + k] = self._layer(self._cell(k), own, u, x, states[coda + k])
            if k + 1 == steps - coda:
                read_out = u
        if coda:
            read_out, states[0] = self._layer(self.cells[-1], self.depth - 1, read_out, x, states[0])
        return read_out, tuple(states)

    def _count(self) -> tuple[int, int]:
        """After how many layers the output is read, and how many are run."""
        if not self.training or self.random_steps is None:
            return self.steps, self.steps
        steps = self.random_steps.take(self._least)
        return steps, self.depth if self.state == "output" else steps

    def _states(self, x: Tensor, state: State, run: int = 0) -> list[State]:
        """States of as many layers as are run at least; those that a call before did not have are initial ones."""
        self._check(x)
        states = list(self.zero_state(x) if state is None else state)
        return states + [zero_state(self._of_item(item), x) for item in range(len(states), run)]

    def _layers(self) -> list[nn.Module]:
        many = self.depth if self.training and self.random_steps is not None else self.steps
        return [self._of_item(item) for item in range(many)]

    def _of_item(self, item: int) -> nn.Module:
        """The cell that an item of the state belongs to."""
        return self.cells[-1] if item < self._coda else self._cell(item - self._coda)

    def _cell(self, k: int) -> nn.Module:
        """The cell of virtual layer k, which is not the last of a `middle`."""
        count = len(self.cells)
        if self.pattern == "cycle":
            return self.cells[k % count]
        if self.pattern == "sequence":
            return self.cells[min(k * count // self.depth, count - 1)]
        return self.cells[0 if k == 0 else 1 + (k - 1) % (count - 2)]

    def _layer(self, cell: nn.Module, own: int, u: Tensor, x: Tensor, state: State) -> tuple[Tensor, State]:
        """u + f(…) (T, B, H) of a virtual layer with what is its own, and its state after it."""
        read = u
        if own > 0 and self.injection != "none":
            read = u + x if self.alphas is None else torch.addcmul(u, self.alphas[own - 1], x)
        read = self.norms[own](read)
        if own > 0 and self.dropout is not None:
            read = self.dropout(read)
        output, after = self.differences[own](cell, read, state) if self.differences else cell(read, state)
        return u + output, after

    def extra_repr(self) -> str:
        random = f", random_steps={self.random_steps}, state={self.state}" if self.random_steps else ""
        return f"steps={self.steps}, pattern={self.pattern}, injection={self.injection}{random}"
