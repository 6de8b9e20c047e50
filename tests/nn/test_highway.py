"""The passthrough highway network: its equations, its limits, its gradients."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lsseq.nn as lnn

N, L, R = 6, 3, 2
F64 = torch.float64
FORMS: list[dict[str, Any]] = [
    {},
    {"activation": "tanh"},
    {"rank": R},
    {"rank": R, "diagonal": True},
    {"rank": R, "diagonal": True, "tied_rank": True},
]
each_form = pytest.mark.parametrize("form", FORMS, ids=str)
each_tying = pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])


def make(num_layers: int = L, **options: Any) -> lnn.Highway:
    torch.manual_seed(0)
    layer = lnn.Highway(N, num_layers, dtype=F64, **options)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("bias"):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def whole(p: dict[str, np.ndarray], k: int, gate: int, layer: lnn.Highway) -> np.ndarray:
    """The matrix of the candidate (0) or of the gate (1) of a layer."""
    name = f"weight_l{k}"
    if layer.rank is None:
        return p[name].reshape(2, N, N)[gate]
    left, right = p[f"{name}_left"].reshape(2, N, -1)[gate], p[f"{name}_right"].reshape(-1, layer.rank, N)
    matrix: np.ndarray = left @ right[min(gate, len(right) - 1)]
    return matrix + np.diag(p[f"{name}_diag"].reshape(2, N)[gate]) if layer.diagonal else matrix


def by_hand(layer: lnn.Highway, x: Tensor) -> np.ndarray:
    """One row, one layer after the other, with numpy."""
    p = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
    rows = []
    for row in x.reshape(-1, N).numpy():
        state = row
        for k in [0] * L if layer.tied else range(L):
            bias = p[f"bias_l{k}"]
            a = whole(p, k, 0, layer) @ state + bias[:N]
            t = 1 / (1 + np.exp(-(whole(p, k, 1, layer) @ state + bias[N:])))
            activated = np.maximum(a, 0) if layer.activation == "relu" else np.tanh(a)
            state = t * activated + (1 - t) * state
        rows.append(state)
    return np.stack(rows).reshape(x.shape)


@each_form
@each_tying
@pytest.mark.parametrize("shape", [(N,), (4, N), (2, 3, N)], ids=str)
def test_equations(form: dict[str, Any], tied: bool, shape: tuple[int, ...]) -> None:
    layer, x = make(tied=tied, **form), torch.randn(shape, dtype=F64)
    np.testing.assert_allclose(layer(x).detach().numpy(), by_hand(layer, x), rtol=1e-12, atol=1e-14)


@each_form
@each_tying
def test_gradients(form: dict[str, Any], tied: bool) -> None:
    layer = make(tied=tied, **form)
    names, parameters = zip(*layer.named_parameters(), strict=True)
    x = torch.randn(4, N, dtype=F64, requires_grad=True)

    def result(x: Tensor, *values: Tensor) -> Tensor:
        found: Tensor = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))
        return found

    assert torch.autograd.gradcheck(result, (x, *parameters))
    assert all(gradient.any() for gradient in torch.autograd.grad(layer(x).square().sum(), parameters))


def test_names_and_shapes_of_the_parameters() -> None:
    def shapes(**options: Any) -> dict[str, tuple[int, ...]]:
        return {name: tuple(p.shape) for name, p in lnn.Highway(N, 2, **options).named_parameters()}

    assert shapes(tied=True) == {"weight_l0": (2 * N, N), "bias_l0": (2 * N,)}
    assert list(shapes()) == ["weight_l0", "bias_l0", "weight_l1", "bias_l1"]
    factors = {"weight_l0_left": (2 * N, R), "weight_l0_right": (2 * R, N), "weight_l0_diag": (2 * N,)}
    assert shapes(tied=True, rank=R, diagonal=True) == {**factors, "bias_l0": (2 * N,)}
    assert shapes(tied=True, rank=R, tied_rank=True)["weight_l0_right"] == (R, N)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_full_rank_is_the_dense_network(activation: Any) -> None:
    dense, full = make(activation=activation), make(activation=activation, rank=N)
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if name.startswith("bias"):
                full.get_parameter(name).copy_(parameter)
            else:
                full.get_parameter(f"{name}_left").copy_(parameter)
                full.get_parameter(f"{name}_right").copy_(torch.eye(N).repeat(2, 1))
    x = torch.randn(5, N, dtype=F64)
    torch.testing.assert_close(full(x), dense(x), rtol=1e-12, atol=1e-14)


@each_form
def test_tied_layers_are_one_repeated(form: dict[str, Any]) -> None:
    tied, once, untied = make(tied=True, **form), make(1, **form), make(**form)
    once.load_state_dict(tied.state_dict())
    own = tied.state_dict()
    untied.load_state_dict(
        {name: own[name.replace("_l1", "_l0").replace("_l2", "_l0")] for name in untied.state_dict()}
    )
    x = torch.randn(5, N, dtype=F64)
    assert torch.equal(tied(x), once(once(once(x))))
    assert torch.equal(tied(x), untied(x))


@each_form
def test_a_closed_gate_copies_the_input_and_an_open_one_replaces_it(form: dict[str, Any]) -> None:
    x = torch.randn(5, N)
    assert torch.equal(lnn.Highway(N, 20, gate_bias=-800.0, **form)(x), x)
    layer = lnn.Highway(N, 1, gate_bias=800.0, **form)
    activate = torch.tanh if layer.activation == "tanh" else torch.relu
    p = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
    torch.testing.assert_close(layer(x), activate(x @ torch.from_numpy(whole(p, 0, 0, layer)).t()))


@pytest.mark.parametrize("rank", [None, 16])
def test_a_new_network(rank: int | None) -> None:
    """Matrices with the variance of Glorot's, the gates at σ(-1), so that most of the input is carried through."""
    layer = lnn.Highway(256, 1, rank=rank, diagonal=rank is not None)
    for _ in range(2):
        p = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
        if rank is None:
            matrices = p["weight_l0"]
        else:
            halves = zip(
                p["weight_l0_left"].reshape(2, 256, -1), p["weight_l0_right"].reshape(2, rank, 256), strict=True
            )
            matrices = np.concatenate([left @ right for left, right in halves])
            assert np.abs(p["weight_l0_diag"]).max() <= 0.01
        assert matrices.std() == pytest.approx(1 / math.sqrt(256), rel=0.1)
        assert (p["bias_l0"][:256] == 0).all()
        assert (p["bias_l0"][256:] == -1).all()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.fill_(7.0)
        layer.reset_parameters()


def test_formats_copies_and_the_meta_device() -> None:
    layer, x = lnn.Highway(N, L, rank=R, diagonal=True), torch.randn(4, N)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    torch.testing.assert_close(copy.deepcopy(layer).double()(x.double()), layer(x).double(), rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = layer(x)
    assert under.dtype == torch.float32
    torch.testing.assert_close(under, layer(x), rtol=0, atol=0.1)
    assert lnn.Highway(N, L, device="meta").weight_l0.is_meta
    assert repr(layer) == f"Highway({N}, {L}, rank={R}, diagonal=True)"


def test_an_exported_network_gives_the_same() -> None:
    layer, x = make(rank=R, diagonal=True).eval(), torch.randn(3, N, dtype=F64)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(layer, (x,), strict=False).module()(x), layer(x))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 2), {}, "expected a size and a number of layers of at least 1, got 0 and 2"),
        ((4, 0), {}, "expected a size and a number of layers of at least 1, got 4 and 0"),
        ((4, 2), {"rank": 5}, r"rank should be an integer in range \[1, 4\], got 5"),
        ((4, 2), {"diagonal": True}, "diagonal=True needs a rank"),
        ((4, 2), {"tied_rank": True}, "tied_rank=True needs a rank"),
        ((4, 2), {"activation": "selu"}, "activation should be one of 'relu', 'tanh', got 'selu'"),
    ],
)
def test_refusals(arguments: tuple[int, int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnn.Highway(*arguments, **options)


def test_an_input_of_another_size_is_refused() -> None:
    for x in (torch.zeros(2, N + 1), torch.tensor(0.0)):
        with pytest.raises(ValueError, match=r"expected an input \(…, 6\), got"):
            lnn.Highway(N, 1)(x)
