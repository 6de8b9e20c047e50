"""Which back ends a model takes."""

from __future__ import annotations

from torch import nn


def explain(module: nn.Module) -> list[str]:
    """What each recurrent layer inside a module says of its back end (its `explain()`), each line once."""
    lines: dict[str, None] = {}
    for part in module.modules():
        if callable(told := getattr(part, "explain", None)):
            lines |= dict.fromkeys(told().splitlines())
    return list(lines)
