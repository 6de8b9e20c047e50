"""The GRU's step against equations written out here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.random import Kind, bernoulli, draw_key

F64 = torch.float64
T, B, I, H = 6, 3, 4, 5


def make(seed: int = 0, **options: object) -> lnn.GRU:
    torch.manual_seed(seed)
    return lnn.GRU(I, H, dtype=F64, **options)


def data(steps: int = T) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(steps, B, I, dtype=F64, generator=g), torch.randn(1, B, H, dtype=F64, generator=g)


def layer_norm(u: Tensor, gain: Tensor) -> Tensor:
    variance = u.var(-1, unbiased=False, keepdim=True)
    return gain * (u - u.mean(-1, keepdim=True)) / (variance + 1e-5).sqrt()


def equations(layer: lnn.GRU, x: Tensor, h: Tensor, d: Tensor, kept: Tensor) -> Tensor:
    """One layer, step by step, block by block; d and kept (T, B, H)."""
    p = dict(layer.named_parameters())
    W, U, b, e = (p[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    gates, candidate = slice(0, 2 * H), slice(2 * H, 3 * H)

    def norm(u: Tensor, which: str, rows: slice) -> Tensor:
        return layer_norm(u, p[f"norm_{which}_l0"][rows]) if layer.norm == "layer" else u

    outputs = []
    for t in range(len(x)):
        rz = norm(x[t] @ W[gates].T, "ih", gates) + b[gates] + norm(h @ U[gates].T, "hh", gates) + e[gates]
        r, z = 1 / (1 + torch.exp(-rz[:, :H])), 1 / (1 + torch.exp(-rz[:, H:]))
        from_x = norm(x[t] @ W[candidate].T, "ih", candidate) + b[candidate]
        if layer.reset == "after":
            n = torch.tanh(from_x + r * (norm(h @ U[candidate].T, "hh", candidate) + e[candidate]))
        else:
            n = torch.tanh(from_x + norm((r * h) @ U[candidate].T, "hh", candidate) + e[candidate])
        new_h = z * h + (1 - z) * kept[t] * n
        h = d[t] * h + (1 - d[t]) * new_h
        outputs.append(h)
    return torch.stack(outputs)


OPTIONS = [
    {},
    {"zoneout_hidden": 0.3},
    {"recurrent_dropout": 0.4},
    {"norm": "layer"},
    {"norm": "layer", "zoneout_hidden": 0.2, "recurrent_dropout": 0.25},
]


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equations_with_the_engines_masks(options: dict[str, object], reset: str, training: bool) -> None:
    layer = make(backend="reference", reset=reset, **options).train(training)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("norm"):
                parameter.uniform_(0.5, 1.5)
    x, h = data()
    d, kept = torch.full((T, B, H), layer.zoneout_hidden, dtype=F64), torch.ones(T, B, H, dtype=F64)
    if training:
        torch.manual_seed(3)
        key, rate = draw_key(), layer.recurrent_dropout
        d = bernoulli(key, 0, Kind.ZONEOUT_HIDDEN, layer.zoneout_hidden, T, B, H).to(F64)
        kept = (1 - bernoulli(key, 0, Kind.RECURRENT_DROPOUT, rate, T, B, H).to(F64)) / (1 - rate)
    expected = equations(layer, x, h[0], d, kept)
    torch.manual_seed(3)
    output, h_n = layer(x, h)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-14)
    assert torch.equal(h_n[0], output[-1])
    parameters = list(layer.parameters())
    wanted = torch.autograd.grad(expected.square().sum(), parameters)
    for got, want in zip(torch.autograd.grad(output.square().sum(), parameters), wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


def test_without_biases() -> None:
    for reset in ("after", "before"):
        torch.manual_seed(0)
        layer = lnn.GRU(I, H, bias=False, dtype=F64, reset=reset, norm="layer")
        assert len(list(layer.parameters())) == 4
        assert layer(data()[0])[0].isfinite().all()


def test_the_reset_changes_the_result() -> None:
    x, h = data()
    after, before = (make(reset=reset, backend="reference")(x, h)[0] for reset in ("after", "before"))
    assert not torch.isclose(after, before).all()


def test_rate_of_one_never_changes_the_state() -> None:
    layer = make(zoneout_hidden=1.0)
    x, h = data()
    output, h_n = layer(x, h)
    assert torch.equal(output, h.expand(T, B, H))
    assert torch.equal(h_n, h)
    assert not any(d.any() for d in torch.autograd.grad(output.sum(), list(layer.parameters())))


def test_recurrent_dropout_of_everything_only_decays() -> None:
    layer = make(recurrent_dropout=1.0)
    x, h = data(steps=1)
    gates = x[0] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + h[0] @ layer.weight_hh_l0.T + layer.bias_hh_l0
    torch.testing.assert_close(layer(x, h)[1][0], torch.sigmoid(gates[:, H : 2 * H]) * h[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "options", [*OPTIONS[1:], {"reset": "before", "zoneout_hidden": 0.1, "norm": "layer"}], ids=str
)
def test_gradcheck(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    layer = lnn.GRU(2, 3, dtype=F64, **options)
    x, h = torch.randn(3, 2, 2, dtype=F64, requires_grad=True), torch.randn(1, 2, 3, dtype=F64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x: Tensor, h: Tensor, *parameters: Tensor) -> Tensor:
        torch.manual_seed(5)
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, h))[0]

    assert torch.autograd.gradcheck(run, (x, h, *layer.parameters()), fast_mode=True)


def test_reset_is_checked_and_shown() -> None:
    with pytest.raises(ValueError, match=r"^reset should be one of 'after', 'before', got 'never'$"):
        lnn.GRU(I, H, reset="never")
    assert repr(make(reset="before")) == "GRU(4, 5, reset=before)"
    assert make(reset="before", backend="reference").explain().startswith("GRU: reference (")
    assert "cannot serve reset='before'" in make(reset="before").explain()
