"""Fractal stacks: columns of different depths beside each other, any of which is a network of its own.

Shape letters: T time, B batch, H width, C columns, N blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from lsseq.nn.checks import check_member
from lsseq.nn.parts.choices import Choice, Outcome, settled
from lsseq.nn.stacks.parts import Stack, norms, require_one_step, run, width_of
from lsseq.nn.stacks.paths import DropPath, Kept
from lsseq.nn.state import State, choose_rows

Sharing = Literal["untied", "column", "all"]
"""Which layers have the same weights: none, those of a column, or all."""


class Join(NamedTuple):
    """Where layers end beside each other."""

    first: int
    """Index of the first of these layers, in the order of computation."""
    place: int
    """Layers on the longest path up to here."""
    columns: list[int]
    """The columns of these layers, the shortest first."""


class FractalStack(Stack):
    """Blocks of C columns that are joined wherever they end together (FractalNet, Larsson et al. 2017):

        f_1 = R;  f_{C+1} = N((f_C ∘ f_C) ⊕ R)          R: a recurrence; ⊕: mean of those that take part; N: layer norm

    Column c of a block has 2^{c-1} layers, so that there are 2^C - 1, and the longest path has 2^{C-1}. Joins that
    follow each other at once are one. Each layer has a state of its own, even where weights are shared; the state is a
    tuple of them, in the order of computation. Recurrent layers in the place of convolutions, and the norm, are this
    project's own: the mean of several outputs is smaller than one of them, which would tell how many take part.

    Args:
        make: makes a recurrence that reads and gives (T, B, H), each time a new one.
        columns: C; one column is a plain stack of as many layers as blocks.
        blocks: N.
        sharing: see `Sharing`.
        drop_path: what training drops.
        dropout: applied to what layers read, but for the input of the stack.

    Raises:
        ValueError: no columns or blocks, widths that do not fit, an unknown name, or layers with `norm="batch"` that
            freeze in some rows only.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        columns: int,
        *,
        blocks: int = 1,
        sharing: Sharing = "untied",
        drop_path: DropPath | None = None,
        dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        check_member("sharing", sharing, ("untied", "column", "all"))
        if min(columns, blocks) < 1:
            raise ValueError(f"expected at least one column and one block, got {columns} and {blocks}")
        self.columns, self.blocks, self.sharing = columns, blocks, sharing
        self.drop_path, self.dropout = drop_path, dropout
        layers = blocks * (2**columns - 1)
        cells = [make() for _ in range({"untied": layers, "column": columns, "all": 1}[sharing])]
        self.hidden_size = width_of(cells)
        if drop_path is not None and drop_path.state == "freeze" and drop_path.over != "batch":
            require_one_step(cells, f"state='freeze' over a {drop_path.over!r}")
        self.cells = nn.ModuleList(cells)
        self.norms = norms(sum(len(join.columns) > 1 for join in self._joins()), self.hidden_size, cells[0])

    @property
    def _length(self) -> int:
        """Layers on the longest path through a block."""
        return int(2 ** (self.columns - 1))

    def _span(self, column: int) -> int:
        """How much of the longest path a layer of a column stands beside."""
        return int(2 ** (self.columns - column))

    def _ending(self, place: int) -> list[int]:
        """The columns that have a layer that ends at a place of the longest path (1 … 2^{C-1}), the shortest first."""
        return [column for column in range(1, self.columns + 1) if place % self._span(column) == 0]

    def _joins(self) -> list[Join]:
        """All places of all blocks, in the order of computation."""
        found, first = [], 0
        for place in range(1, self.blocks * self._length + 1):
            columns = self._ending(place)
            found.append(Join(first, place, columns))
            first += len(columns)
        return found

    def _cell(self, layer: int, column: int) -> nn.Module:
        return self.cells[{"untied": layer, "column": column - 1, "all": 0}[self.sharing]]

    def _layers(self) -> list[nn.Module]:
        return [
            self._cell(layer, column)
            for first, _, columns in self._joins()
            for layer, column in enumerate(columns, first)
        ]

    def _norm(self, place: int) -> nn.Module | None:
        """The norm of the join at a place; where one column ends alone, at every other place, there is none."""
        return None if len(self._ending(place)) == 1 else self.norms[place // 2 - 1]

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads x (T, B, H) on from a state: outputs (T, B, H) and the state after it.

        Raises:
            ValueError: shapes that do not fit.
        """
        states = self._states(x, state)
        alive = self._alive(x.shape[1])
        used = self._used(alive)
        # What the rows at hand leave out by chance, other rows of the batch in other processes may compute.
        skips = self.drop_path is not None and self.drop_path.over == "batch"
        read, joined = {0: x}, x
        for (first, place, columns), kept in zip(self._joins(), alive, strict=True):
            outputs = []
            for layer, column in enumerate(columns, first):
                source = read[place - self._span(column)]
                output, states[layer] = _run(self._cell(layer, column), source, states[layer], used[layer], skips)
                outputs.append(output)
            norm = self._norm(place)
            joined = _mean(outputs, kept) if norm is None else norm(_mean(outputs, kept))
            last = place == self.blocks * self._length
            read[place] = joined if last or self.dropout is None else self.dropout(joined)
        return joined, tuple(states)

    def _alive(self, rows: int) -> Sequence[Tensor | None]:
        """Which columns take part at each join, bool (m, 1, B, 1), B = 1 where it is the same for all; None for all."""
        joins = self._joins()
        if not self.training or self.drop_path is None:
            return [None] * len(joins)
        if (kept := settled(partial(self._paths, self.drop_path))) is not None:
            every = [alive or [True] * len(columns) for alive, (_, _, columns) in zip(kept, joins, strict=True)]
            return _as_tensors(every)
        return self.drop_path.choose(rows, self.columns, [(first, columns) for first, _, columns in joins])

    def _paths(self, drop_path: DropPath) -> Choice:
        """What may take part in a call, the same for all rows: () at a join that is on no way to the output."""
        joins = [columns for _, _, columns in self._joins()]

        def outcomes() -> Iterator[Outcome]:
            for kept, p in drop_path.outcomes(self.columns, joins):
                used = iter(self._on_a_way(_as_tensors(kept)))
                of_each = [[bool(next(used)) for _ in alive] for alive in kept]
                value = tuple(alive if any(own) else () for alive, own in zip(kept, of_each, strict=True))
                yield Outcome(value, p, _name(joins, value))

        return Choice(drop_path.ways(self.columns, joins), outcomes)

    def _used(self, alive: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
        """Which layers are on a way to the output, bool (1, B, 1) each, where others freeze; None where none does."""
        if self.drop_path is None or self.drop_path.state == "output" or alive[0] is None:
            return [None] * len(self._layers())
        return self._on_a_way(cast(Sequence[Tensor], alive))

    def _on_a_way(self, alive: Sequence[Tensor]) -> list[Tensor]:
        """Which layers are on a way to the output through what takes part, bool (1, B, 1) each."""
        none = torch.zeros_like(alive[0][0])
        needed = [*([none] * len(alive)), ~none]
        used: list[Tensor] = []
        for (_, place, columns), kept in zip(reversed(self._joins()), reversed(alive), strict=True):
            for at, column in reversed(list(enumerate(columns))):
                used.append(needed[place] & kept[at])
                below = place - self._span(column)
                needed[below] = needed[below] | used[-1]
        return used[::-1]

    def column(self, number: int) -> Column:
        """Column 1 (one layer a block) … C (2^{C-1} layers) as a network of its own that shares the weights.

        It is what the whole computes when every join keeps that column alone.

        Raises:
            ValueError: no such column.
        """
        if not 1 <= number <= self.columns:
            raise ValueError(f"column should be in range [1, {self.columns}], got {number}")
        layers, norms = [], []
        for first, place, columns in self._joins():
            if number in columns:
                layers.append(self._cell(first + columns.index(number), number))
                norms.append(self._norm(place))
        return Column(layers, norms, self.dropout)

    def extra_repr(self) -> str:
        return f"columns={self.columns}, blocks={self.blocks}, sharing={self.sharing}, drop_path={self.drop_path}"


class Column(Stack):
    """One column of a fractal stack: layers one after the other, each with the norm of the join where it ends.

    The state is a tuple of theirs. Made by `FractalStack.column`.
    """

    def __init__(
        self, layers: Sequence[nn.Module], norms: Sequence[nn.Module | None], dropout: nn.Module | None
    ) -> None:
        super().__init__()
        self.hidden_size = width_of(layers)
        self.layers = nn.ModuleList(layers)
        self.norms = nn.ModuleList(norm or nn.Identity() for norm in norms)
        self.dropout = dropout

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads x (T, B, H) on from a state: outputs (T, B, H) and the state after it."""
        states = self._states(x, state)
        for l, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            read = x if l == 0 or self.dropout is None else self.dropout(x)
            x, states[l] = run(layer, read, states[l])
            x = norm(x)
        return x, tuple(states)

    def _layers(self) -> list[nn.Module]:
        return list(self.layers)


def _as_tensors(kept: Sequence[Sequence[bool]]) -> list[Tensor]:
    """Of each join, bool (m, 1, 1, 1)."""
    return [torch.tensor(alive).view(-1, 1, 1, 1) for alive in kept]


def _name(joins: Sequence[list[int]], kept: Kept) -> str:
    """The columns that each join takes, in the order of computation: `columns 2+3, 1`."""
    of_each = [
        "+".join(str(column) for column, alive in zip(columns, own, strict=True) if alive) if own else "-"
        for columns, own in zip(joins, kept, strict=True)
        if len(columns) > 1
    ]
    return f"columns {', '.join(of_each) or 1}"


def _mean(outputs: Sequence[Tensor], alive: Tensor | None) -> Tensor:
    """The mean of outputs (T, B, H) that take part, (m, 1, B, 1)."""
    if len(outputs) == 1:
        return outputs[0]
    if alive is None:
        return torch.stack(list(outputs)).mean(0)
    weights = alive.to(outputs[0])
    weights = weights / weights.sum(0)
    total = weights[0] * outputs[0]
    for weight, output in zip(weights[1:], outputs[1:], strict=True):
        total = torch.addcmul(total, weight, output)
    return total


def _run(layer: nn.Module, x: Tensor, before: State, used: Tensor | None, skips: bool) -> tuple[Tensor, State]:
    """A layer's output, and its state, which stays in the rows (1, B, 1) that do not use it; with `skips` nothing is
    computed where none does."""
    if used is None or used.all():
        return run(layer, x, before)
    if skips and not used.any():
        return torch.zeros_like(x), before
    output, after = run(layer, x, before)
    return output, choose_rows(used[0].to(x.device), after, before)
