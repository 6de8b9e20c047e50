"""Layer normalisation inside a recurrence (Ba, Kiros and Hinton 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def affine(x: Tensor, weight: Tensor, bias: Tensor | None, gain: Tensor | None, blocks: list[int]) -> Tensor:
    """x Wᵀ + b, or with a gain LN(x Wᵀ) ⊙ gain + b, where each block of output units is normalised by itself."""
    if gain is None:
        return F.linear(x, weight, bias)
    return layer_norm(F.linear(x, weight), gain, bias, blocks)


def layer_norm(x: Tensor, gain: Tensor, bias: Tensor | None, blocks: list[int]) -> Tensor:
    """Mean 0 and variance 1 (biased, ε = 1e-5) over each block of the last axis, times gain, plus bias."""
    if len(blocks) == 1:
        return F.layer_norm(x, blocks, gain, bias)
    parts = zip(torch.split(x, blocks, -1), torch.split(gain, blocks), blocks, strict=True)
    normal = torch.cat([F.layer_norm(part, (size,), scale) for part, scale, size in parts], dim=-1)
    return normal if bias is None else normal + bias
