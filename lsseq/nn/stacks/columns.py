"""Models with fractal stacks, run as one of their columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lsseq.nn.stacks.fractal import FractalStack


@contextmanager
def only_column(module: nn.Module, number: int) -> Iterator[None]:
    """In this context every `FractalStack` inside a module is its column of this number, which shares the weights.

    Parameters and operations of the module are then those of the column.

    Raises:
        ValueError: there is no fractal stack in it, or no such column.
    """
    found = [
        (parent, name, part)
        for parent in module.modules()
        for name, part in parent.named_children()
        if isinstance(part, FractalStack)
    ]
    if not found:
        raise ValueError("the model has no columns: its stack is not fractal")
    columns = [part.column(number).train(part.training) for _, _, part in found]
    for (parent, name, _), column in zip(found, columns, strict=True):
        setattr(parent, name, column)
    try:
        yield
    finally:
        for parent, name, part in found:
            setattr(parent, name, part)


def column_count(module: nn.Module) -> int:
    """The columns of the fractal stacks inside a module; 0 where there are none."""
    return max((part.columns for part in module.modules() if isinstance(part, FractalStack)), default=0)
