"""Models that share their depth, run for another number of steps than they were made with."""

from __future__ import annotations

from typing import Any, cast

from torch import nn


def set_steps(module: nn.Module, steps: int) -> None:
    """Run all that is repeated inside a module so many times: its `TiedStack`, `DeepTransition` and tied `RHN`.

    Raises:
        ValueError: nothing is repeated in it, or not so often.
    """
    repeated = [part for part in module.modules() if isinstance(getattr(type(part), "steps", None), property)]
    if not repeated:
        raise ValueError("the model has no layers that are repeated")
    for part in repeated:
        cast(Any, part).steps = steps
