"""Products by whichever library serves: the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lsseq.nn.kernels import cpu, products


@pytest.mark.parametrize("shape", [(7,), (1, 7), (products.FEW_ROWS, 7), (6, 50, 7), (2, 3, 70, 7)], ids=str)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_linear(shape: tuple[int, ...], with_bias: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, own = [], cpu.add_product

    def add_product(*matrices: torch.Tensor) -> None:
        counted.append(matrices)
        own(*matrices)

    monkeypatch.setattr(cpu, "add_product", add_product)
    x, weight = torch.randn(*shape, dtype=dtype), torch.randn(5, 7, dtype=dtype)
    bias = torch.randn(5, dtype=dtype) if with_bias else None
    expected = F.linear(x, weight, bias)
    with torch.no_grad():
        torch.testing.assert_close(products.linear(x, weight, bias), expected)
    many = x.numel() // 7 >= products.FEW_ROWS
    assert len(counted) == (many and cpu.obstacle(dtype) is None)

    # Where a gradient is wanted it is PyTorch's.
    x.requires_grad_()
    (found,) = torch.autograd.grad(products.linear(x, weight, bias).sum(), x)
    torch.testing.assert_close(found, weight.sum(0).expand_as(x))
