"""Backward passes that are written by hand, and have no derivative of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


class _Refusal(torch.autograd.Function):
    """Gives the gradients as they are, and has none itself."""

    @staticmethod
    def forward(_ctx: Any, _anchor: Tensor, *gradients: Tensor | None) -> Gradients:
        return gradients

    @staticmethod
    def backward(_ctx: Any, *_: Tensor) -> Gradients:
        raise RuntimeError("the fused kernels have no second derivative; use backend='reference'")


def once_differentiable(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """For the backward pass of a `torch.autograd.Function`: to differentiate its gradients raises RuntimeError.

    PyTorch's decorator of this name takes them for constants, in silence, where the gradients that come in are
    constant, as those of a sum are.
    """

    @wraps(backward)
    def run(ctx: Any, *gradients: Tensor | None) -> Gradients:
        with torch.no_grad():
            found = backward(ctx, *gradients)
        if not torch.is_grad_enabled():
            return found
        anchor = torch.zeros((), requires_grad=True)
        refused: Gradients = _Refusal.apply(anchor, *found)  # type: ignore[no-untyped-call]
        return refused

    return run
