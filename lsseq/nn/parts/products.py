"""The matrix products of a recurrence, plain or layer-normalised (Ba, Kiros and Hinton 2016).

Results have the dtype of the weight: under autocast the product runs in low precision, states and gates do not.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lsseq.nn.parts.transition import Transition


def affine(x: Tensor, weight: Transition, bias: Tensor | None, gain: Tensor | None, blocks: list[int]) -> Tensor:
    """W x + b, or with a gain LN(W x) ⊙ gain + b, where each block of output units is normalised by itself."""
    if gain is None:
        return weight.product(x, bias).to(weight.dtype)
    product = torch.split(weight.product(x), blocks, dim=-1)
    scales = torch.split(gain, blocks)
    parts = [layer_norm(part, scale).to(weight.dtype) for part, scale in zip(product, scales, strict=True)]
    normal = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    return normal if bias is None else normal + bias


def add_product(x_t: Tensor, h: Tensor, weight: Transition, gain: Tensor | None) -> Tensor:
    """x_t + W h, or with a gain x_t + LN(W h) ⊙ gain."""
    if gain is None:
        return weight.add_product(x_t, h).to(weight.dtype)
    return x_t + layer_norm(weight.product(h), gain)


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor | None = None) -> Tensor:
    """Mean 0 and variance 1 (biased, ε = 1e-5) over the last axis, times gain, plus bias."""
    return F.layer_norm(x, gain.shape, gain, bias)
