"""Backward passes that are written by hand, and have no derivative of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

Gradients = tuple[Tensor | None, ...]


class _Refusal(torch.autograd.Function):
    """(how many, gradients, what they depend on) -> the gradients as they are, which have none themselves."""

    @staticmethod
    def forward(_ctx: Any, count: int, *tensors: Tensor | None) -> Gradients:
        return tensors[:count]

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
        sources = (*gradients, *ctx.saved_tensors)
        refused: Gradients = _Refusal.apply(len(found), *found, *sources)  # type: ignore[no-untyped-call]
        return refused

    return run
