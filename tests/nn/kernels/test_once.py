"""A backward pass that is written by hand has no derivative, and says so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels import cpu
from lsseq.nn.kernels.once import once_differentiable


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, unused: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return 2 * x * d, None


def first_derivative(scale: Tensor, *, create_graph: bool) -> tuple[Tensor, Tensor]:
    """x, and the derivative of scale times x squared."""
    x = torch.arange(3.0, requires_grad=True)
    result = (Square.apply(x, torch.zeros(1)) * scale).sum()
    return x, torch.autograd.grad(result, x, create_graph=create_graph)[0]


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("learned", [False, True], ids=["constant", "learned"])
def test_first_derivative_can_be_used(create_graph: bool, learned: bool) -> None:
    x, derivative = first_derivative(torch.tensor(3.0, requires_grad=learned), create_graph=create_graph)
    assert torch.equal(derivative.detach(), 6 * x.detach())
    assert derivative.requires_grad == create_graph


@pytest.mark.parametrize("learned", [False, True], ids=["constant", "learned"])
def test_second_derivative_is_refused(learned: bool) -> None:
    x, derivative = first_derivative(torch.tensor(3.0, requires_grad=learned), create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivative; use backend='reference'"):
        torch.autograd.grad(derivative.sum(), x)


@pytest.mark.skipif(cpu.obstacle(torch.float32) is not None, reason="the CPU kernels are not compiled")
def test_cpu_kernels_refuse_a_second_derivative() -> None:
    layer = lnn.LSTM(3, 4, backend="fused")
    x = torch.randn(2, 2, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivative"):
        gradient.square().sum().backward()
