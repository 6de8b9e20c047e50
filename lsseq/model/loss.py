"""Cross-entropy over a large vocabulary without all its logits at once.

The logits of a window are N = T·B rows of V floats: 750 MB for 5,600 tokens and 33,000 words. Above `FEW_LOGITS` they
are computed chunk by chunk. In training the gradient of a chunk is taken while its logits are there, so nothing is
computed twice.

Shape letters: N tokens (T·B), H features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lsseq.nn.kernels.followed import autocast_type
from lsseq.nn.kernels.products import add_product, linear, multiply

FEW_LOGITS = 2**22
"""So many are computed at once: 16 MiB in float32, and several times that in PyTorch's backward pass."""
ROWS = 512
"""Rows of a chunk. Each chunk reads the whole weight, and adds to the whole gradient of it: with 256 rows that takes
some per cent more time, with 64 a quarter more, whatever V."""
IGNORED = -100
"""The target that does not count."""


def total_nll(
    features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int | None = None
) -> Tensor:
    """Sum of the negative log-likelihoods of the targets in nats, a scalar; differentiable once.

    Args:
        features: (N, H).
        weight: (V, H) of the output layer.
        bias: (V,) of the output layer, or None.
        targets: (N,) int64; `IGNORED` does not count.
        rows: tokens whose logits are held at a time; by default `ROWS`, or more where their logits are few.
    """
    rows = rows or _rows(weight)
    if features.shape[0] <= rows and features.shape[0] * weight.shape[0] <= FEW_LOGITS:
        return F.cross_entropy(_logits(features, weight, bias), targets, ignore_index=IGNORED, reduction="sum")
    total: Tensor = _TotalNll.apply(features, weight, bias, targets, rows)  # type: ignore[no-untyped-call]
    return total


def each_nll(features: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int | None = None) -> Tensor:
    """(N,): the negative log-likelihood of each target in nats, 0 where it is `IGNORED`; arguments as in `total_nll`.

    For evaluation: under autograd all logits would be kept.
    """
    return torch.cat(
        [
            F.cross_entropy(
                _logits(features[part], weight, bias), targets[part], ignore_index=IGNORED, reduction="none"
            )
            for part in _parts(len(features), rows or _rows(weight))
        ]
    )


def at_least_float32(values: Tensor) -> Tensor:
    """In float32 what autocast made 16 bits wide: too few for a softmax over thousands of words, or a sum."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _logits(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return at_least_float32(linear(features, weight, bias))


def _rows(weight: Tensor) -> int:
    return max(ROWS, FEW_LOGITS // weight.shape[0])


def _parts(count: int, rows: int) -> Iterator[slice]:
    """`count` rows in parts of at most so many, all of about the same size."""
    number = max(1, -(-count // rows))
    size = max(1, -(-count // number))
    return (slice(begin, begin + size) for begin in range(0, max(1, count), size))


def _product_type(features: Tensor) -> torch.dtype:
    """That of the features, or what autocast makes of it."""
    if features.dtype == torch.float64:
        return features.dtype
    return autocast_type(features.device.type) or features.dtype


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
        product_type = _product_type(features)
        w, b = weight.to(product_type), None if bias is None else bias.to(product_type)
        for part in _parts(len(features), rows):
            x, y = features[part].to(product_type), targets[part].unsqueeze(1)
            counted, known = y != IGNORED, y.clamp(min=0)
            # One buffer holds in turn the logits less the largest, their exponentials, and the gradient p - e.
            z = _logits(x, w, b)
            z -= z.amax(1, keepdim=True)
            z_target = z.gather(1, known)
            mass = z.exp_().sum(1, keepdim=True)
            total += ((mass.log() - z_target) * counted).sum()
            if not any(ctx.needs_input_grad):
                continue
            z *= counted / mass
            z.scatter_add_(1, known, -counted.to(z.dtype))
            if d_bias is not None:
                d_bias += z.sum(0)
            d_z = z.to(product_type)
            if d_features is not None:
                d_features[part] = multiply(d_z, w)
            if d_weight is not None and d_weight.dtype == product_type:
                add_product(d_weight, d_z.t(), x)
            elif d_weight is not None:
                d_weight += multiply(d_z.t(), x)
        ctx.save_for_backward(d_features, d_weight, d_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if grad is None else grad * d_total.to(grad.dtype) for grad in ctx.saved_tensors), None, None
