"""The part of a model that carries state.

Shape letters: T time, B batch, I input, H output, L layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import Tensor, nn

from lsseq.errors import RequestError
from lsseq.model.base import Extras
from lsseq.nn.state import State, flatten_state, map_state


class Recurrence(nn.Module, ABC):
    """Reads a window of vectors and carries its state to the next one.

    A new recurrence is a file `lsseq/model/recurrences/NAME.py` with a function `build(model: schema.Model,
    input_size: int)` that returns one of these; recipes then know it as `model.recurrence: NAME`.
    """

    output_size: int
    """H."""

    @abstractmethod
    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State, Extras]:
        """Reads x (T, B, I) on from a state (None: the initial one): outputs (T, B, H), the state after it, extras."""

    def at_epoch(self, epoch: int) -> None:
        """Called before each training step with the whole epochs that are done, for schedules."""

    def zero_state(self, x: Tensor) -> State:
        """The initial state for an input, needed where it is to be learned; None where the recurrence does not tell."""
        del x
        return None

    def flops(self) -> float | None:
        """Floating point operations of a step of one stream, counted by `lsseq.nn.cost`; None where it does not tell.

        Everything counts as computed at every step.
        """
        return None

    def flops_demanded(self, told: Extras) -> float | None:
        """The mean of those that a text demanded, from the means of what was told of it."""
        del told
        return self.flops()


class Layers(Recurrence):
    """A module of `lsseq.nn` as a recurrence; its state is that module's."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn
        self.output_size = cast(int, rnn.hidden_size)

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State, Extras]:
        output, state = self.rnn(x, state)
        return output, state, {}

    def zero_state(self, x: Tensor) -> State:
        return cast(Any, self.rnn).zero_state(x)

    def flops(self) -> float | None:
        count = getattr(self.rnn, "flops", None)
        return None if count is None else float(count())


class Stack(Recurrence):
    """Recurrences of different sizes above each other, with dropout between them; its state is the tuple of theirs."""

    def __init__(self, layers: Sequence[Recurrence], dropout: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.dropout = dropout
        self.output_size = layers[-1].output_size

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State, Extras]:
        before = [None] * len(self.layers) if state is None else list(state)
        after: list[State] = []
        extras: Extras = {}
        for number, layer in enumerate(self.layers):
            x, layer_state, told = layer(x if number == 0 else self.dropout(x), before[number])
            after.append(layer_state)
            extras |= {f"layers.{number}.{name}": value for name, value in told.items()}
        return x, tuple(after), extras

    def zero_state(self, x: Tensor) -> State:
        states = tuple(cast(Recurrence, layer).zero_state(x) for layer in self.layers)
        return None if any(state is None for state in states) else states

    def flops(self) -> float | None:
        each = [cast(Recurrence, layer).flops() for layer in self.layers]
        return None if None in each else sum(cast(list[float], each))


class LearnedState(nn.Module):
    """An initial state that is a parameter, the same for every stream; it starts at zero (Krueger et al. 2017)."""

    def __init__(self, zero: State, *, counted: bool = False) -> None:
        """`zero`: the initial state of one stream, each tensor (…, 1, H).

        `counted`: it is that of LSTM layers with batch norm, (h, c, steps) each, of which the steps are not learned.
        """
        super().__init__()
        self.counted = counted
        self.values = nn.ParameterList(part for name, part in flatten_state(zero).items() if self._learns(name))

    def forward(self, zero: State) -> State:
        """The state for as many streams as `zero` has.

        Raises:
            RequestError: it has more parts than were learned, since there are more layers now than in training.
        """
        learns = [self._learns(name) for name in flatten_state(zero)]
        if (asked := sum(learns)) > len(self.values):
            raise RequestError(
                f"the initial state was learned, for {len(self.values)} parts of it, and more layers than in training "
                f"need {asked}"
            )
        values: Iterator[Tensor] = iter(self.values)
        of_each = iter(learns)
        return map_state(lambda tensor: tensor + next(values) if next(of_each) else tensor, zero)

    def _learns(self, name: str) -> bool:
        """Whether a part of this name (`flatten_state`) is learned."""
        return not (self.counted and name.endswith("(2)"))
