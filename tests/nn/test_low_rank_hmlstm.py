"""The HM-LSTM with low-rank matrices of its layers' own states."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hm_by_hand import F64, SIZES, B, I, T, by_hand, data, initial, patterns
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels.cpu import native

R = 3
FORMS = [{"diagonal": diagonal, "tied_rank": tied} for diagonal in (False, True) for tied in (False, True)]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"norm": "layer"},
    {"gradient": "select", "on_copy": "hold"},
    {"norm": "layer", "flush": False, "top_down": False},
]
each_form = pytest.mark.parametrize("form", FORMS, ids=str)
each_options = pytest.mark.parametrize("options", OPTIONS, ids=str)
needs_kernels = pytest.mark.skipif(isinstance(native.compiled(), str), reason="no fused kernels")


def make(rank: int | None = R, **options: Any) -> lnn.HMLSTM:
    torch.manual_seed(0)
    layer = lnn.HMLSTM(I, SIZES, 3, dtype=F64, rank=rank, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def composed(layer: lnn.HMLSTM, **options: Any) -> lnn.HMLSTM:
    """A layer of whole matrices, made gate by gate with numpy."""
    dense = make(None, **options)
    p = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if not name.startswith("weight_hh"):
                parameter.copy_(torch.from_numpy(p[name]))
                continue
            H = parameter.shape[1]
            rows = []
            for gate in range(4):
                left = p[f"{name}_left"][gate * H : (gate + 1) * H]
                right = p[f"{name}_right"][0 if layer.tied_rank else gate * R :][:R]
                rows.append(left @ right)
                if layer.diagonal:
                    rows[-1] += np.diag(p[f"{name}_diag"][gate * H : (gate + 1) * H])
            rows += [p[f"{name}_boundary"]] if f"{name}_boundary" in p else []
            parameter.copy_(torch.from_numpy(np.concatenate(rows)))
    return dense


def run(layer: lnn.HMLSTM, forced: Tensor | None = None) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What a layer gives, and the gradients of its parameters and of its input."""
    x = data().requires_grad_()
    torch.manual_seed(1)
    result = layer(x, initial(), forced)
    found = [*result.outputs, result.boundaries, result.probabilities, result.sums, *result.state[1]]
    loss = torch.stack([(part * part.cos()).sum() for part in found]).sum()
    sources = {"x": x, **dict(layer.named_parameters())}
    return found, dict(zip(sources, torch.autograd.grad(loss, list(sources.values())), strict=True))


@each_form
def test_names_and_shapes_of_the_parameters(form: dict[str, bool]) -> None:
    layer = make(**form)
    want: dict[str, tuple[int, ...]] = {}
    for k, H in enumerate(SIZES):
        want[f"weight_hh_l{k}_left"] = (4 * H, R)
        want[f"weight_hh_l{k}_right"] = (R if form["tied_rank"] else 4 * R, H)
        if form["diagonal"]:
            want[f"weight_hh_l{k}_diag"] = (4 * H,)
        if k < 2:
            want[f"weight_hh_l{k}_boundary"] = (1, H)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters() if "weight_hh" in name} == want


@each_form
@each_options
@pytest.mark.parametrize("backend", ["reference", pytest.param("fused", marks=needs_kernels)])
def test_equals_an_independent_implementation(options: dict[str, Any], form: dict[str, bool], backend: Any) -> None:
    layer = make(backend=backend, **form, **options)
    outputs, boundaries, sums = by_hand(composed(layer, **options), data(), initial())
    assert 0 < boundaries.mean() < 1
    result = layer(data(), initial())
    assert np.array_equal(result.boundaries.detach().numpy(), boundaries)
    for got, want in zip((*result.outputs, result.sums), (*outputs, sums), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want, rtol=1e-10, atol=1e-12)


@needs_kernels
@each_form
@pytest.mark.parametrize("options", [*OPTIONS, {"zoneout_cell": 0.3, "zoneout_hidden": 0.2}], ids=str)
def test_the_fused_kernels_give_what_the_reference_gives(options: dict[str, Any], form: dict[str, bool]) -> None:
    layer = make(backend="reference", **form, **options)
    for forced in (None, patterns()):
        layer.backend = "reference"
        want, gradients = run(layer, forced)
        layer.backend = "fused"
        got, found = run(layer, forced)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)
            assert forced is None or gradient.any(), name


@each_options
@pytest.mark.parametrize("backend", ["reference", pytest.param("fused", marks=needs_kernels)])
def test_full_rank_is_the_dense_layer(options: dict[str, Any], backend: Any) -> None:
    H = 5
    torch.manual_seed(0)
    dense, full = (lnn.HMLSTM(I, H, 3, dtype=F64, backend=backend, rank=rank, **options) for rank in (None, H))
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            if not name.startswith("weight_hh"):
                full.get_parameter(name).copy_(parameter)
                continue
            full.get_parameter(f"{name}_left").copy_(parameter[: 4 * H])
            full.get_parameter(f"{name}_right").copy_(torch.eye(H).repeat(4, 1))
            if len(parameter) > 4 * H:
                full.get_parameter(f"{name}_boundary").copy_(parameter[4 * H :])
    for got, want in zip(full(data()).outputs, dense(data()).outputs, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


def test_starts_with_the_variance_of_a_whole_matrix_and_may_be_copied() -> None:
    layer = lnn.HMLSTM(8, [256, 128], 2, rank=16, diagonal=True)
    for k, H in enumerate(layer.hidden_size):
        left, right = (layer.get_parameter(f"weight_hh_l{k}_{part}") for part in ("left", "right"))
        product = torch.cat([a @ b for a, b in zip(left.split(H), right.split(16), strict=True)])
        assert product.std().item() == pytest.approx(1 / math.sqrt(3 * H), rel=0.1)
        assert layer.get_parameter(f"weight_hh_l{k}_diag").abs().max() <= 0.01
    x = torch.randn(T, B, 8)
    assert torch.equal(copy.deepcopy(layer)(x).outputs[1], layer(x).outputs[1])


def test_without_a_rank_nothing_is_drawn_or_named_otherwise() -> None:
    torch.manual_seed(0)
    first = lnn.HMLSTM(I, 4, 2)
    torch.manual_seed(0)
    drawn = [torch.empty_like(p).uniform_(-0.5, 0.5) for name, p in first.named_parameters() if "weight" in name]
    assert all(
        torch.equal(a, b)
        for a, b in zip(drawn, (p for name, p in first.named_parameters() if "weight" in name), strict=True)
    )
    assert [name for name, _ in first.named_parameters()][:4] == [
        *("weight_ih_l0", "weight_hh_l0", "weight_th_l0", "bias_l0"),
    ]


def test_what_is_told() -> None:
    layer = lnn.HMLSTM(I, 8, 3, rank=2)
    if not isinstance(native.compiled(), str):
        reason = "weights of low rank are composed once a call, because these kernels know no factors"
        assert layer.explain().startswith("HMLSTM: fused")
        assert layer.explain().endswith(reason)
    layer.backend = "reference"
    assert layer.explain().endswith("weights of low rank are multiplied factor by factor, which defines the result")
    assert "rank=2" in repr(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 5}, r"rank should be an integer in range \[1, 4\], got 5"),
        ({"rank": None, "diagonal": True}, "diagonal=True needs a rank"),
        ({"rank": None, "tied_rank": True}, "tied_rank=True needs a rank"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lnn.HMLSTM(I, SIZES, 3, **options)
