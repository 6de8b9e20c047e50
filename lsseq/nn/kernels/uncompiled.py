"""Calls that `torch.compile` leaves as they are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def uncompiled(function: Function) -> Function:
    """The function, which a compiler calls as it stands, and goes on behind it.

    For forward passes that have kernels of their own: what a compiler could follow is the loop of the reference, all
    its steps one after the other, compiled anew for every length, and slower than the kernels in the end.
    """

    apart: list[Callable[..., Any]] = []

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        # Nobody compiles before it is imported, which takes longer than to import the rest of PyTorch.
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not apart:
            apart.append(torch.compiler.disable(function))  # type: ignore[no-untyped-call,unused-ignore]
        return apart[0](*args, **kwargs)

    run._torchdynamo_disable = True  # type: ignore[attr-defined] # a compiler looks no further
    return run  # type: ignore[return-value]
