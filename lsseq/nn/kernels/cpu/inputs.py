"""What the library takes from the input of a sequence, and the gradients of it, some steps at a time.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lsseq.nn.parts.products import normalise


def products(x: Tensor, weight: Tensor, gain: Tensor | None, blocks: list[int]) -> tuple[Tensor, Tensor | None]:
    """x Wᵀ of all steps, (T, B, G·H); with a gain LN(x Wᵀ) ⊙ gain, and x Wᵀ, which the backward pass needs.

    Each block of columns is normalised by itself. x: (T, B, I); weight: (G·H, I); gain: (G·H,).
    """
    product = F.linear(x, weight)
    return (product, None) if gain is None else (normalise(product, gain, blocks), product)


class Gradients:
    """The gradients of x, the weight and the gain of `products`, from that of its result."""

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        gain: Tensor | None,
        product: Tensor | None,
        blocks: list[int],
        wanted: tuple[bool, ...],
    ) -> None:
        """`wanted`: which of the three are computed; the others are None."""
        self._x, self._weight, self._gain, self._product, self._blocks = x, weight, gain, product, blocks
        self.x = torch.empty_like(x) if wanted[0] else None
        self.weight = torch.zeros_like(weight) if wanted[1] else None
        self.gain = torch.zeros_like(gain) if gain is not None else None

    def add(self, d: Tensor, begin: int, end: int) -> None:
        """Adds what comes from d, the gradient of the result at the steps [begin, end)."""
        if self._gain is not None and self._product is not None:
            d = self._through_norm(d, self._product[begin:end], self._gain)
        if self.x is not None:
            self.x[begin:end] = d @ self._weight
        if self.weight is not None:
            self.weight.addmm_(d.flatten(0, 1).t(), self._x[begin:end].flatten(0, 1))

    def _through_norm(self, d: Tensor, product: Tensor, gain: Tensor) -> Tensor:
        with torch.enable_grad():
            product, gain = product.detach().requires_grad_(), gain.detach().requires_grad_()
            normal = normalise(product, gain, self._blocks)
        d_product, d_gain = torch.autograd.grad(normal, (product, gain), d)
        assert self.gain is not None
        self.gain += d_gain
        return d_product
