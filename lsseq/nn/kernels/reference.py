"""The reference back end: a loop over the steps in plain PyTorch operations, which defines what every other one
computes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from lsseq.nn.cells.bnlstm import BatchNormCell
from lsseq.nn.cells.lstm import LSTMCell
from lsseq.nn.kernels.layer import Kernel, Layer, States, counted, step_numbers


class Cell(Protocol):
    """One step of a recurrence, made for one layer and one input (T, B, I)."""

    inputs: Tensor
    """What the step takes from the input, (T, B, G·H)."""

    @property
    def step(self) -> Callable[[Tensor, States, int], States]:
        """(inputs of the step (B, G·H), states, t) -> states; the first state is the output."""


def loop(cell: Callable[[Layer, Tensor], Cell]) -> Kernel:
    """The kernel that repeats a cell's step."""

    def run(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
        this = cell(layer, x)
        states = tuple(state.to(this.inputs.dtype) for state in states)
        passed = []
        # unbind, because the backward pass of indexing costs O(T) at every step.
        for t, x_t in enumerate(this.inputs.unbind(0)):
            states = this.step(x_t, states, t)
            passed.append(states)
        if layer.every_step:
            states = tuple(torch.stack(sequence) for sequence in zip(*passed, strict=True))
            return states[0], states
        return torch.stack([h for h, *_ in passed]), states

    return run


def lstm(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
    """The LSTM, whose batch norm also counts the steps, so that each has the statistics of its number."""
    if layer.gains is None or layer.gains.statistics is None:
        return loop(LSTMCell)(x, states, layer)
    cell = partial(BatchNormCell, step_numbers(states), layer.gains, layer.gains.statistics)
    output, after = loop(cell)(x, states[:2], layer)
    return output, (*after, *counted(states, x, layer))
