"""What the library takes from the input of a sequence, and the gradients of it, some steps at a time.

Shape letters: T time, B batch, I input, H hidden, G gates, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu.gemm import add_product, multiply, multiply_into
from lsseq.nn.kernels.cpu.gradients import add_left_gradient
from lsseq.nn.parts.transition import LowRank, Transition

_EPSILON = 1e-5


def products(x: Tensor, weight: Transition, gain: Tensor | None, blocks: list[int]) -> tuple[Tensor, list[Tensor]]:
    """x Wᵀ of all steps, (T, B, G·H), or with a gain LN(x Wᵀ) ⊙ gain, each block of columns normalised by itself.

    Beside it what `Gradients` needs of the norm: x Wᵀ, then of each block the mean and 1 / deviation, (T, B, 1).

    Args:
        x: (T, B, I).
        weight: (G·H, I).
        gain: (G·H,).
        blocks: their widths.
    """
    product = weight.product(x, linear=_linear)
    if gain is None:
        return product, []
    normal, kept = [], [product]
    for part, scale in zip(torch.split(product, blocks, -1), torch.split(gain, blocks), strict=True):
        values, *statistics = torch.native_layer_norm(part, scale.shape, scale, None, _EPSILON)
        normal.append(values)
        kept += statistics
    return _join(normal), kept


class Gradients:
    """The gradients of x, the weight and the gain from that of `products`, added up over pieces of the sequence."""

    def __init__(
        self,
        x: Tensor,
        weight: Transition,
        gain: Tensor | None,
        blocks: list[int],
        kept: Sequence[Tensor],
        wanted: Sequence[bool],
    ) -> None:
        """What `products` was given and gave to keep; `wanted`: whether x, the weight and R have gradients."""
        self._x, self._weight, self._gain, self._blocks, self._kept = x, weight, gain, blocks, kept
        self.x = x.new_empty(x.shape) if wanted[0] else None
        left, right, _ = weight.tensors
        self.weight = torch.zeros_like(left) if wanted[1] else None
        self.right = torch.zeros_like(right) if right is not None and wanted[2] else None
        self.gain = None if gain is None else torch.zeros_like(gain)

    def add(self, d: Tensor, begin: int, end: int) -> None:
        """Adds what comes from d, the gradient of the products at the steps [begin, end)."""
        if self._gain is not None and self.gain is not None:
            d, d_gain = _norm_backward(d, self._gain, self._blocks, [part[begin:end] for part in self._kept])
            self.gain += d_gain
        d, x = d.flatten(0, 1), self._x[begin:end].flatten(0, 1)
        matrix, gradient = self._weight.tensors[0], self.weight
        if isinstance(self._weight, LowRank):
            if gradient is not None:
                add_left_gradient(gradient, d, _linear(x, self._weight.right))
            d = self._weight.through_left(d, multiply)
            matrix, gradient = self._weight.right, self.right
        if self.x is not None:
            multiply_into(self.x[begin:end].flatten(0, 1), d, matrix)
        if gradient is not None:
            add_product(gradient, d.t(), x)


def _norm_backward(d: Tensor, gain: Tensor, blocks: list[int], kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The gradients of x Wᵀ and of the gain."""
    product, *statistics = kept
    parts = zip(*(torch.split(part, blocks, -1) for part in (d, product, gain)), strict=True)
    d_product, d_gain = [], []
    for (d_part, part, scale), mean, inverse in zip(parts, statistics[::2], statistics[1::2], strict=True):
        found = torch.ops.aten.native_layer_norm_backward(
            d_part, part, scale.shape, mean, inverse, scale, None, [True, True, False]
        )
        d_product.append(found[0])
        d_gain.append(found[1])
    return _join(d_product), _join(d_gain)


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b of each row of x (…, I)."""
    product = multiply(x.flatten(0, -2), weight.t()).view(*x.shape[:-1], len(weight))
    return product if bias is None else product.add_(bias)
