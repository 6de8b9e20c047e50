"""What stacks are made of: layers that keep their width, and what is asked of them.

Shape letters: T time, B batch, H width of the stack, L layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

from torch import Tensor, nn

from lsseq.nn.parts.statistics import step_norms
from lsseq.nn.state import State

Read = Callable[[Tensor], Tensor]
"""What a layer makes of the stream (T, B, H) before it reads it."""


def reads_time_first(layer: nn.Module) -> bool:
    """Whether a layer makes (T, B, H) of (T, B, I): it reads in one direction, and gives what its state is."""
    return not any(getattr(layer, option, False) for option in ("proj_size", "bidirectional", "batch_first"))


def require_time_first(cells: Sequence[nn.Module]) -> None:
    """Raises ValueError unless each cell makes (T, B, H) of (T, B, I), H its `hidden_size`."""
    for cell in cells:
        if not reads_time_first(cell):
            raise ValueError(
                "expected a cell that reads (T, B, I) and gives (T, B, H), "
                f"got {type(cell).__name__}({cell.extra_repr()})"
            )


def width_of(layers: Sequence[nn.Module]) -> int:
    """H, which every layer reads and gives.

    Raises:
        ValueError: no layers, or one that reads or gives another width.
    """
    if not layers:
        raise ValueError("a stack needs at least one layer")
    width = cast(int, layers[0].hidden_size)
    for number, layer in enumerate(layers):
        if not reads_time_first(layer) or layer.input_size != width or layer.hidden_size != width:
            raise ValueError(
                f"layer {number} of a stack should read and give (T, B, {width}), "
                f"got {type(layer).__name__}({layer.extra_repr()})"
            )
    return width


def norms(count: int, width: int, like: nn.Module) -> nn.ModuleList:
    """So many layer norms with gain and bias, in the format of a module's parameters."""
    weight = next(like.parameters())
    return nn.ModuleList(nn.LayerNorm(width, device=weight.device, dtype=weight.dtype) for _ in range(count))


def require_one_step(layers: Sequence[nn.Module], option: str) -> None:
    """For a stack that lets the states of some rows of a batch go on, and not those of others, because of an option.

    Raises:
        ValueError: there is batch normalisation in a layer, whose statistics are those of rows at the same step.
    """
    if any(step_norms(layer) for layer in layers):
        raise ValueError(f"norm='batch' needs rows that are all at the same step, which {option} sets apart")


def run(layer: nn.Module, x: Tensor, state: State) -> tuple[Tensor, State]:
    """A layer's output (T, B, H) and the state after it."""
    output, after = layer(x, state)
    return output, after


def zero_state(layer: nn.Module, x: Tensor) -> State:
    """The initial state of a layer for an input (T, B, H)."""
    return cast(Any, layer).zero_state(x)


class Stack(nn.Module, ABC):
    """Base of the stacks: the width, the states of the layers as a tuple, the check of what is read.

    A stack is used as a layer of `torch.nn` is: `output, state = stack(x, state)`, with x and output (T, B, H). The
    state is a tuple, one item a layer with the state that this has; None stands for the initial one, zeros.
    """

    hidden_size: int
    """H."""

    @property
    def input_size(self) -> int:
        """H, too: a stack reads what its layers give."""
        return self.hidden_size

    @abstractmethod
    def _layers(self) -> list[nn.Module]:
        """The layer that each item of the state belongs to; a shared one more than once."""

    def zero_state(self, x: Tensor) -> tuple[State, ...]:
        """The initial state for an input (T, B, H): zeros."""
        return tuple(zero_state(layer, x) for layer in self._layers())

    def flops(self) -> float:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""
        return sum(float(cast(Any, layer).flops()) for layer in self._layers())

    def _check(self, x: Tensor) -> None:
        """Raises ValueError unless an input is (T, B, H), T > 0."""
        if x.dim() != 3 or len(x) == 0 or x.shape[-1] != self.hidden_size:
            name = type(self).__name__
            raise ValueError(f"{name}: expected an input (T, B, {self.hidden_size}) with T > 0, got {tuple(x.shape)}")

    def _states(self, x: Tensor, state: State) -> list[State]:
        """The state of each layer.

        Raises:
            ValueError: an input that is not (T, B, H), T > 0, or a state of another number of layers.
        """
        self._check(x)
        states = self.zero_state(x) if state is None else state
        count = len(self._layers())
        if len(states) != count:
            raise ValueError(f"{type(self).__name__}: expected the states of {count} layers, got {len(states)}")
        return list(states)
