"""Products of large matrices: this project's where they serve, which know no autograd, else PyTorch's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lsseq.nn.kernels import cpu
from lsseq.nn.kernels.followed import followed

FEW_ROWS = 256
"""Below so many a product is PyTorch's, which is as fast there, or faster."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b of x (…, K), as `torch.nn.functional.linear`."""
    rows = x.shape[:-1]
    if torch.is_grad_enabled() or not _served(x) or rows.numel() < FEW_ROWS:
        return F.linear(x, weight, bias)
    start = x.new_zeros(*rows, len(weight)) if bias is None else bias.repeat(*rows, 1)
    cpu.add_product(start.flatten(0, -2), x.flatten(0, -2), weight.t())
    return start


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a b, of (N, M), (N, K) and (K, M), all of one dtype."""
    if _served(out):
        cpu.add_product(out, a, b)
    else:
        out.addmm_(a, b)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a b, of (N, K) and (K, M) of one dtype."""
    return cpu.multiply(a, b) if _served(a) else a @ b


def _served(matrix: Tensor) -> bool:
    kind = matrix.device.type
    return kind == "cpu" and cpu.obstacle(matrix.dtype) is None and not followed(kind)
