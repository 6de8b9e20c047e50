"""The fast-slow stack: a state that several cells change in turns each step, and one that changes once.

Shape letters: T time, B batch, I input, H fast units, S slow units, k fast cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from lsseq.nn.dropout import Dropout
from lsseq.nn.kernels.dispatch import fast_slow_kernel
from lsseq.nn.kernels.fast_slow import Turns
from lsseq.nn.kernels.layer import States
from lsseq.nn.kernels.uncompiled import uncompiled
from lsseq.nn.lstm import LSTM
from lsseq.nn.random import Steps
from lsseq.nn.single import Backend, SingleLayer
from lsseq.nn.stacks.parts import require_time_first, run, zero_state
from lsseq.nn.state import State, flatten_state

_SERVED: dict[str, tuple[object, ...]] = {
    "num_layers": (1,),
    "norm": (None, "layer"),
    "recompute": (False,),
    "backend": ("auto", "fused"),
}
"""The values of an LSTM's options with which the fused kernels serve it as a cell; they serve all of the others."""


class FastSlow(SingleLayer):
    """Fast-slow recurrent network (Mujika, Meier and Steger 2017, section 3):

        h^{F1}_t = f_1(x_t, h^{Fk}_{t-1});  h^S_t = f_S(h^{F1}_t, h^S_{t-1})
        h^{F2}_t = f_2(h^S_t, h^{F1}_t);  h^{Fi}_t = f_i(0, h^{F(i-1)}_t), i = 3 … k

    The output is h^{Fk}_t. One state goes through all fast cells, k steps a symbol.

    Args:
        fast: k ≥ 2 recurrences of H units: the first reads I, the second S, others read zeros of their input size.
        slow: a recurrence that reads H and has S units.
        dropout: applied to what the slow cell and the second fast one read.
        backend: `fused` for this project's kernels, which serve cells that are all an `lsseq.nn.LSTM` of one layer;
            `reference` for a loop over the steps that calls the cells, whatever they are and by the back ends of their
            own, and defines the result; `auto` for the first where they serve. `explain()` says which and why.

    Raises:
        ValueError: fewer than two fast cells, sizes or states that do not fit, a cell with `batch_first`,
            `bidirectional` or `proj_size`, or a back end that cannot serve.
    """

    recurrence = "FastSlow"

    def __init__(
        self,
        fast: Sequence[nn.Module],
        slow: nn.Module,
        *,
        dropout: nn.Module | None = None,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        if len(fast) < 2:
            raise ValueError(f"a fast-slow stack needs at least two fast cells, got {len(fast)}")
        require_time_first([*fast, slow])
        self.input_size, self.hidden_size = cast(int, fast[0].input_size), cast(int, fast[0].hidden_size)
        sizes = [(cell.input_size, cell.hidden_size) for cell in (slow, *fast[1:])]
        expected = [(self.hidden_size, slow.hidden_size), (slow.hidden_size, self.hidden_size)]
        if sizes[:2] != expected or any(size != self.hidden_size for _, size in sizes[2:]):
            raise ValueError(
                f"expected a slow cell that reads the {self.hidden_size} fast units, fast cells of as many units, "
                f"and a second one that reads the {slow.hidden_size} slow units; got (input, hidden) {sizes}"
            )
        structures = [_structure(cell) for cell in fast]
        if any(structure != structures[0] for structure in structures):
            raise ValueError(f"expected fast cells whose states are alike, got {structures}")
        self.fast, self.slow, self.dropout = nn.ModuleList(fast), slow, dropout
        self._take_backend(backend)

    @uncompiled
    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads x (T, B, I) on from a state (fast, slow): outputs (T, B, H) and the state after it.

        Raises:
            ValueError: an input that is not (T, B, I), T > 0.
        """
        self._check(x)
        fast, slow = self.zero_state(x) if state is None else state
        backend = self.choose_backend(self.training, x).backend
        output, fast, slow = (self._fused if backend == "fused" else self._step_by_step)(x, fast, slow)
        return output, (fast, slow)

    def _step_by_step(self, x: Tensor, fast: State, slow: State) -> tuple[Tensor, State, State]:
        silent = [x.new_zeros(1, x.shape[1], cast(int, cell.input_size)) for cell in self.fast[2:]]
        outputs, steps = [], Steps()
        for t, x_t in enumerate(x.unsqueeze(1).unbind(0)):
            with steps.step(t):
                h, fast = run(self.fast[0], x_t, fast)
                h, slow = run(self.slow, self._dropped(h), slow)
                h, fast = run(self.fast[1], self._dropped(h), fast)
                for cell, zeros in zip(self.fast[2:], silent, strict=True):
                    h, fast = run(cell, zeros, fast)
            outputs.append(h)
        return torch.cat(outputs), fast, slow

    def _fused(self, x: Tensor, fast: State, slow: State) -> tuple[Tensor, State, State]:
        cells, seen = [], []
        before: list[States] = []
        for k, cell in enumerate(self._turns()):
            assert isinstance(cell, LSTM)
            # What it reads, as far as sizes go.
            read = x.new_empty(1).expand(*x.shape[:2], cell.input_size)
            if k < 2:
                before.append(cell.first_states(read, (fast, slow)[k]))
            if k in (1, 2):
                seen.append(None if self.dropout is None else cast(Dropout, self.dropout).factors(read))
            cells.append(cell.first_layer(read))
        turns = Turns(cells, (seen[0], seen[1]))
        output, *after = fast_slow_kernel(x.device.type)(x, before[0], before[1], turns)
        # Copies, because a view refuses `detach_()`.
        fast, slow = (tuple(torch.stack([part]) for part in state) for state in after)
        return output, fast, slow

    def zero_state(self, x: Tensor) -> tuple[State, State]:
        """The initial state for an input (T, B, I): zeros."""
        return zero_state(self.fast[0], x), zero_state(self.slow, x)

    def flops(self) -> float:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        return sum(float(cast(Any, cell).flops()) for cell in self._turns())

    def _turns(self) -> list[nn.Module]:
        """The cells in the order in which they are computed."""
        return [self.fast[0], self.slow, *self.fast[1:]]

    def _beyond_fused(self) -> tuple[str, ...]:
        found = [what for cell in self._turns() if (what := _beyond_fused(cell)) is not None]
        if self.dropout is not None and (type(self.dropout) is not Dropout or _has_hooks(self.dropout)):
            found.append("other dropout than `Dropout`")
        return tuple(dict.fromkeys(found))

    def _dropped(self, x: Tensor) -> Tensor:
        return x if self.dropout is None else self.dropout(x)


def _structure(cell: nn.Module) -> dict[str, tuple[int, ...]]:
    """The names of the tensors in a cell's state and their shapes for one row."""
    x = torch.empty(1, 1, cast(int, cell.input_size), device="meta")
    return {name: tuple(tensor.shape) for name, tensor in flatten_state(zero_state(cell, x)).items()}


def _beyond_fused(cell: nn.Module) -> str | None:
    """What the fused kernels cannot serve of a cell."""
    # A subclass may have a step of its own.
    if type(cell) is not LSTM:
        return f"cells that are a {type(cell).__name__}"
    if _has_hooks(cell):
        return "cells with hooks"
    for name, served in _SERVED.items():
        if (value := getattr(cell, name)) not in served:
            return f"cells with {name}={value!r}"
    return None


def _has_hooks(module: nn.Module) -> bool:
    kinds = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
    return any(getattr(module, kind) for kind in kinds)
