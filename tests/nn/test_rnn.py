"""The simple recurrent network's step against equations written out here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.random import Kind, bernoulli, draw_key

F64 = torch.float64
T, B, I, H = 6, 3, 4, 5


def make(**options: object) -> lnn.RNN:
    torch.manual_seed(0)
    return lnn.RNN(I, H, dtype=F64, **options)


def layer_norm(u: Tensor, gain: Tensor) -> Tensor:
    variance = u.var(-1, unbiased=False, keepdim=True)
    return gain * (u - u.mean(-1, keepdim=True)) / (variance + 1e-5).sqrt()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("options", [{}, {"zoneout_hidden": 0.3}, {"norm": "layer", "zoneout_hidden": 0.2}], ids=str)
def test_equations_with_the_engines_masks(options: dict[str, object], nonlinearity: str, training: bool) -> None:
    layer = make(nonlinearity=nonlinearity, backend="reference", **options).train(training)
    x, h_0 = torch.randn(T, B, I, dtype=F64), torch.randn(1, B, H, dtype=F64)
    torch.manual_seed(3)
    rate = layer.zoneout_hidden
    mask = bernoulli(draw_key(), 0, Kind.ZONEOUT_HIDDEN, rate, T, B, H)
    d = mask.to(F64) if training else torch.full((T, B, H), rate, dtype=F64)
    phi = torch.tanh if nonlinearity == "tanh" else lambda u: u * (u > 0)
    h, outputs = h_0[0], []
    for t in range(T):
        from_x, from_h = x[t] @ layer.weight_ih_l0.T, h @ layer.weight_hh_l0.T
        if layer.norm == "layer":
            from_x, from_h = layer_norm(from_x, layer.norm_ih_l0), layer_norm(from_h, layer.norm_hh_l0)
        new_h = phi(from_x + layer.bias_ih_l0 + from_h + layer.bias_hh_l0)
        h = d[t] * h + (1 - d[t]) * new_h
        outputs.append(h)
    expected = torch.stack(outputs)
    torch.manual_seed(3)
    output, h_n = layer(x, h_0)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(h_n[0], output[-1])
    parameters = list(layer.parameters())
    wanted = torch.autograd.grad(expected.square().sum(), parameters)
    for got, want in zip(torch.autograd.grad(output.square().sum(), parameters), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


def test_gradcheck() -> None:
    torch.manual_seed(0)
    layer = lnn.RNN(2, 3, dtype=F64, zoneout_hidden=0.3, norm="layer")
    x = torch.randn(3, 2, 2, dtype=F64, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        torch.manual_seed(5)
        return layer(x)[0]

    assert torch.autograd.gradcheck(run, (x,))


def test_arguments_are_in_the_order_of_torch() -> None:
    layer = lnn.RNN(4, 5, 2, "relu", False, True, 0.25, False)
    theirs = torch.nn.RNN(4, 5, 2, "relu", False, True, 0.25, False)
    names = ("nonlinearity", "mode", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
    assert [getattr(layer, name) for name in names] == [getattr(theirs, name) for name in names]
