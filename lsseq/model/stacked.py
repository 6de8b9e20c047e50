"""Stacks of `lsseq.nn` as the recurrence of a model, built from a recipe.

Shape letters: T time, B batch, I input, H width of the stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.model.base import Extras
from lsseq.model.recurrence import Layers, Recurrence
from lsseq.nn.cost import weight_flops
from lsseq.nn.state import State
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault

Build = Callable[[schema.Model, int], Recurrence]
"""(model section, I) -> recurrence: what a file of `lsseq/model/recurrences` has."""


class Stacked(Recurrence):
    """A stack that keeps its width, between a linear map to that width and a norm of what it gives.

    Args:
        stack: reads and gives (T, B, H).
        input_size: I; where it is H there is no map, and the stack's identity path starts at the embedding.
        norm: whether the output is normalised, because the stack adds up what its layers give.
    """

    def __init__(self, stack: nn.Module, input_size: int, *, norm: bool) -> None:
        super().__init__()
        self.output_size = H = cast(int, stack.hidden_size)
        self.project = nn.Identity() if input_size == H else nn.Linear(input_size, H, bias=False)
        self.stack = stack
        self.norm = nn.LayerNorm(H) if norm else nn.Identity()

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State, Extras]:
        output, state = self.stack(self.project(x), state)
        return self.norm(output), state, {}

    def zero_state(self, x: Tensor) -> State:
        return cast(Any, self.stack).zero_state(x)

    def flops(self) -> float:
        return weight_flops(self.project, "weight") + float(cast(Any, self.stack).flops())


def build_stack(model: schema.Model, input_size: int, build: Build) -> Recurrence:
    """The stack that a recipe describes, of layers that `build` makes.

    Raises:
        KeyFault: the recurrence gives more than outputs and a state, so that it is no layer of a stack.
    """
    stack = model.stack
    assert isinstance(model.hidden, int)
    H = model.hidden
    if stack.kind == "deep-transition":
        cell = _layer(model, model.model_copy(update={"stack": schema.Stack()}), input_size, build)
        injection: Any = "first" if stack.injection == "none" else "every"
        drawn = random_steps(stack.random_steps)
        return Layers(lnn.DeepTransition(cell, stack.steps, injection=injection, random_steps=drawn))
    without = model.dropout.model_copy(update={"hidden": 0.0})
    one = model.model_copy(update={"stack": schema.Stack(), "layers": 1, "dropout": without})
    dropout = lnn.Dropout(model.dropout.hidden, mask=model.dropout.mask) if model.dropout.hidden > 0 else None
    if stack.kind == "fractal":
        made: nn.Module = lnn.FractalStack(
            lambda: _layer(model, one, H, build),
            stack.columns,
            blocks=model.layers,
            sharing=stack.sharing,
            drop_path=None if stack.drop_path is None else lnn.DropPath(**stack.drop_path.model_dump()),
            dropout=dropout,
        )
        return Stacked(made, input_size, norm=False)
    if stack.kind == "fast-slow":
        S = stack.slow or H
        fast = [_layer(model, one, size, build) for size in [input_size, S, *[1] * (stack.fast - 2)]]
        slow = _layer(model, one.model_copy(update={"hidden": S}), H, build)
        return Layers(lnn.FastSlow(fast, slow, dropout=dropout))
    layers = [_layer(model, one, H, build) for _ in range(model.layers)]
    if stack.kind == "tied":
        made = lnn.TiedStack(
            layers,
            stack.steps,
            pattern=stack.pattern,
            injection=stack.injection,
            random_steps=random_steps(stack.random_steps),
            state=stack.state,
            difference_rank=stack.difference_rank,
            dropout=dropout,
        )
    else:
        depth, swapout = stack.stochastic_depth, stack.swapout
        made = lnn.ResidualStack(
            layers,
            stochastic_depth=None if depth is None else lnn.StochasticDepth(**depth.model_dump()),
            swapout=None if swapout is None else lnn.Swapout(**swapout.model_dump()),
            dropout=dropout,
        )
    return Stacked(made, input_size, norm=True)


def random_steps(section: schema.RandomSteps | None) -> lnn.RandomSteps | None:
    """What a recipe says of a random number of steps."""
    return None if section is None else lnn.RandomSteps(section.mean, section.most, section.spread)


def _layer(model: schema.Model, one: schema.Model, input_size: int, build: Build) -> nn.Module:
    made = build(one, input_size)
    if not isinstance(made, Layers):
        what = f"the recurrence `{model.recurrence}`" + (f" of {one.layers} layers" if one.layers > 1 else "")
        message = f"{what} is no layer of a `{model.stack.kind}` stack"
        raise KeyFault("model.stack.kind", message)
    return made.rnn
