"""Limits on the gradient or on the step that is made of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

ClipBy = Literal["norm", "value", "update"]


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The Euclidean norm of all elements of all tensors, a scalar on their device."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))
    return norm


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of the whole gradient. It waits for no device: a norm that is not finite shows in the value."""
    return total_norm(_gradients(parameters))


@torch.no_grad()
def clip_gradient(parameters: Sequence[nn.Parameter], norm: Tensor, limit: float | None, by: ClipBy) -> None:
    """Limit the gradients in place, by their `norm`, that of `gradient_norm`, or each element."""
    gradients = _gradients(parameters)
    if limit is not None and by == "norm":
        # The same arithmetic as torch.nn.utils.clip_grad_norm_.
        torch._foreach_mul_(gradients, torch.clamp(limit / (norm + 1e-6), max=1.0))
    elif limit is not None and by == "value":
        torch._foreach_clamp_min_(gradients, -limit)
        torch._foreach_clamp_max_(gradients, limit)


def _gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


@torch.no_grad()
def clipped_update(parameters: Sequence[nn.Parameter], limit: float, step: Callable[[], object]) -> None:
    """Call `step` and shorten the way that the parameters went to the norm `limit` where it is longer.

    So the limit holds for what the optimiser makes of the gradient, as in the zoneout authors' language models (Krueger
    et al. 2017), where Adam comes first and the clip after it.
    """
    weights: list[Tensor] = list(parameters)
    before = [weight.detach().clone() for weight in weights]
    step()
    way = torch._foreach_sub(weights, before)
    torch._foreach_mul_(way, torch.clamp(limit / (total_norm(way) + 1e-6), max=1.0))
    torch._foreach_add_(before, way)
    torch._foreach_copy_(weights, before)
