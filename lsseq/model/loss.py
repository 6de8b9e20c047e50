"""Cross-entropy over a large vocabulary without all its logits at once.

The logits of a window are N = T·B rows of V floats: 750 MB for 5,600 tokens and 33,000 words. Above `LOGITS_AT_ONCE`
they are computed chunk by chunk. In training the gradient of a chunk is taken while its logits are there, so nothing
is computed twice.

Shape letters: N tokens (T·B), H features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

LOGITS_AT_ONCE = 2**24
"""Logits held at a time: 64 MiB in float32, and twice that at the peak, with their softmax."""
IGNORED = -100
"""The target that does not count."""


def total_nll(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, at_once: int = LOGITS_AT_ONCE
) -> Tensor:
    """Sum of the negative log-likelihoods of the targets in nats, a scalar; differentiable once.

    Args:
        features: (N, H).
        weight: (V, H) of the output layer.
        bias: (V,) of the output layer, or None.
        targets: (N,) int64; `IGNORED` does not count.
        at_once: logits that may be held at a time.
    """
    if features.shape[0] * weight.shape[0] <= at_once:
        return F.cross_entropy(_logits(features, weight, bias), targets, ignore_index=IGNORED, reduction="sum")
    total: Tensor = _TotalNll.apply(  # type: ignore[no-untyped-call]
        features, weight, bias, targets, _rows(weight, at_once)
    )
    return total


def each_nll(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, at_once: int = LOGITS_AT_ONCE
) -> Tensor:
    """(N,): the negative log-likelihood of each target in nats, 0 where it is `IGNORED`; arguments as in `total_nll`.

    For evaluation: under autograd all logits would be kept.
    """
    return torch.cat(
        [
            F.cross_entropy(_logits(x, weight, bias), y, ignore_index=IGNORED, reduction="none")
            for x, y in _chunks(features, targets, _rows(weight, at_once))
        ]
    )


def _logits(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return at_least_float32(F.linear(features, weight, bias))


def at_least_float32(values: Tensor) -> Tensor:
    """In float32 what autocast made 16 bits wide: too few for a softmax over thousands of words, or a sum."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _rows(weight: Tensor, at_once: int) -> int:
    return max(1, at_once // weight.shape[0])


def _chunks(features: Tensor, targets: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
    for begin in range(0, len(features), rows):
        yield features[begin : begin + rows], targets[begin : begin + rows]


class _TotalNll(torch.autograd.Function):
    """Σ_n -log softmax(x_n Wᵀ + b)[y_n], with its gradients computed in the forward pass.

    With p = softmax(x Wᵀ + b) and e the one-hot target, the gradient of the logits is p - e; a scalar is returned, so
    the backward pass only multiplies. The sum and not the mean is returned, so that p - e is of order one and survives
    16 bits.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int) -> Tensor:
        needs_features, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        d_features = torch.empty_like(features) if needs_features else None
        d_weight = torch.zeros_like(weight) if needs_weight else None
        d_bias = torch.zeros_like(bias) if needs_bias and bias is not None else None
        total = features.new_zeros((), dtype=torch.promote_types(features.dtype, torch.float32))
        begin = 0
        for x, y in _chunks(features, targets, rows):
            logits = F.linear(x, weight, bias)
            product_type = logits.dtype  # that of the features, or 16 bits under autocast
            log_p = F.log_softmax(at_least_float32(logits), dim=-1)
            total += F.nll_loss(log_p, y, ignore_index=IGNORED, reduction="sum")
            if not any(ctx.needs_input_grad[:3]):
                continue
            counted = (y != IGNORED).unsqueeze(1)
            d_logits = log_p.exp_().mul_(counted)
            d_logits.scatter_add_(1, y.clamp(min=0).unsqueeze(1), -counted.to(d_logits.dtype))
            if d_bias is not None:
                d_bias += d_logits.sum(0)
            d_logits = d_logits.to(product_type)
            if d_features is not None:
                d_features[begin : begin + len(x)] = d_logits @ weight.to(product_type)
            if d_weight is not None:
                d_weight += d_logits.t() @ x.to(product_type)
            begin += len(x)
        ctx.save_for_backward(d_features, d_weight, d_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if grad is None else grad * d_total.to(grad.dtype) for grad in ctx.saved_tensors), None, None
