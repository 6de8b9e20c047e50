"""The CPU kernels at the ends of the number range: accuracy of their functions, NaN, large values, denormals."""

from __future__ import annotations

import pytest
import torch
from parity import FULL, PLAIN, Arguments, assert_parity, data, make, needs_kernels, results
from torch import Tensor

import lsseq.nn as lnn
from lsseq.nn.kernels.cpu import native

pytestmark = needs_kernels

CASES = [*PLAIN, *FULL]
every_cell = pytest.mark.parametrize(("cell", "options"), CASES, ids=str)
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
H = 16


def magnitudes(dtype: torch.dtype, most: float) -> Tensor:
    """Values of both signs from 1e-30 to `most`, densely where the functions bend, a multiple of H of them."""
    values = torch.cat([torch.logspace(-30, -3, 200), torch.linspace(0.001, most, 1800)]).to(torch.float64)
    return torch.cat([values, -values]).to(dtype)


def assert_ulps(got: Tensor, exact: Tensor, ulps: float) -> None:
    """Relative to each value, in units of the precision of `got`."""
    error = ((got.double() - exact) / exact).abs().max().item()
    assert error < ulps * torch.finfo(got.dtype).eps, f"{error:.2e}"


@each_type
def test_tanh(dtype: torch.dtype) -> None:
    layer = lnn.RNN(H, H, bias=False, backend="fused", dtype=dtype)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.eye(H))
        x = magnitudes(dtype, 25.0)
        output, _ = layer(x.view(1, -1, H))
    assert_ulps(output.flatten(), x.double().tanh(), 4)


@each_type
def test_sigmoid(dtype: torch.dtype) -> None:
    # With a candidate of 0, a GRU's output is the update gate times the old output.
    layer = lnn.GRU(H, H, bias=False, backend="fused", dtype=dtype)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.weight_ih_l0[H : 2 * H] = torch.eye(H)
        x = magnitudes(dtype, 80.0).view(1, -1, H)
        output, _ = layer(x, torch.ones_like(x))
    assert_ulps(output.flatten(), x.flatten().double().sigmoid(), 4)


@each_type
@pytest.mark.parametrize(("cell", "options"), [case for case in CASES if "nonlinearity" not in case[1]], ids=str)
def test_large_values_saturate(cell: str, options: Arguments, dtype: torch.dtype) -> None:
    layer = make(cell, 4, 19, dtype, **options)
    x, states = data(layer, 6, 3)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    for factor in (30.0, 1e4, 1e15):
        found = results(layer, "fused", x * factor, states)
        assert all(value.isfinite().all() for value in found.values())
        assert_parity(layer, x * factor, states, tolerance)


@every_cell
def test_nan_comes_out_where_the_reference_has_it(cell: str, options: Arguments) -> None:
    layer = make(cell, 4, 19, **options)
    x, states = data(layer, 6, 3)
    x[2, 1, 0] = torch.nan
    got, want = (results(layer, backend, x, states) for backend in ("fused", "reference"))
    assert got["output"][2:, 1].isnan().all()
    assert not got["output"][:, 0].isnan().any()
    assert not got["output"][:2].isnan().any()
    for name, value in want.items():
        assert torch.equal(got[name].isnan(), value.isnan()), name


def test_infinite_values_are_not_hidden() -> None:
    layer = make("RNN", 4, 19, nonlinearity="relu")
    x, states = data(layer, 6, 3)
    assert not results(layer, "fused", x * 1e308 * 10, states)["output"].isfinite().all()


def test_small_numbers_are_not_flushed_to_zero() -> None:
    assert not isinstance(native.compiled(), str)
    layer = make("LSTM", 4, 19, torch.float32)
    results(layer, "fused", *data(layer, 3, 2))
    assert torch.tensor(1e-40) * 1 != 0
    assert torch.tensor(1e-310, dtype=torch.float64) * 1 != 0
