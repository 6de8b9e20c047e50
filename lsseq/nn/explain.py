"""Which back ends a model takes, and that it is to take the reference."""

from __future__ import annotations

from torch import nn


def explain(module: nn.Module) -> list[str]:
    """What each recurrent layer inside a module says of its back end (its `explain()`), each line once."""
    lines: dict[str, None] = {}
    for part in module.modules():
        if callable(told := getattr(part, "explain", None)):
            lines |= dict.fromkeys(told().splitlines())
    return list(lines)


def use_reference(module: nn.Module) -> None:
    """Have every recurrent layer inside a module computed by the reference."""
    for part in module.modules():
        if hasattr(part, "backend"):
            setattr(part, "backend", "reference")  # noqa: B010 - not every module has one
