"""Products of the compiled library against PyTorch's, over sizes, layouts and numbers of threads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import needs_kernels
from torch import Tensor

from lsseq.nn.kernels.cpu import gemm

pytestmark = needs_kernels

F64 = torch.float64
sizes = st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 130, 511, 600, 1025, 2100]))
layouts = st.sampled_from(["rows", "columns", "part of the rows", "part of the columns", "neither"])


def matrix(rows: int, columns: int, layout: str, dtype: torch.dtype) -> Tensor:
    """One whose numbers stand in memory as the layout says."""
    if layout == "rows":
        return torch.randn(rows, columns, dtype=dtype)
    if layout == "columns":
        return torch.randn(columns, rows, dtype=dtype).t()
    if layout == "part of the rows":
        return torch.randn(rows, columns + 5, dtype=dtype)[:, 3:-2]
    if layout == "part of the columns":
        return torch.randn(columns, rows + 5, dtype=dtype).t()[2:-3]
    return torch.randn(rows, 3, columns, 2, dtype=dtype)[:, 1, :, 1]


@settings(max_examples=150, deadline=None)
@given(
    rows=sizes,
    depth=sizes,
    columns=st.integers(1, 200),
    of_a=layouts,
    of_b=layouts,
    adds=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_products(
    rows: int, depth: int, columns: int, of_a: str, of_b: str, adds: bool, threads: int, seed: int
) -> None:
    torch.manual_seed(seed)
    a, b = matrix(rows, depth, of_a, F64), matrix(depth, columns, of_b, F64)
    around = torch.full((rows + 2, columns + 7), torch.nan, dtype=F64)
    out = around[1:-1, 2:-5]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if adds:
            old = out.normal_().clone()
            gemm.add_product(out, a, b)
            want = old + a @ b
        else:
            gemm.multiply_into(out, a, b)
            want = a @ b
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(out, want, rtol=1e-12, atol=1e-11)
    assert int(around.isnan().sum()) == around.numel() - out.numel()  # nothing is written beside it


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize(("rows", "depth", "columns"), [(200, 2500, 90), (300, 64, 64), (33, 700, 5), (1000, 3, 130)])
def test_threads_change_no_bit(
    rows: int, depth: int, columns: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = matrix(rows, depth, "columns", dtype), matrix(depth, columns, "rows", dtype)
    found = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=threads: n)
        found.append(gemm.multiply(a, b))
    assert all(torch.equal(found[0], other) for other in found[1:])
    torch.testing.assert_close(found[0], a @ b, rtol=1e-4 if dtype == torch.float32 else 1e-12, atol=1e-3)


@pytest.mark.parametrize(("rows", "depth", "columns"), [(0, 4, 5), (40, 0, 5), (40, 4, 0), (0, 0, 0)])
def test_nothing_to_multiply(rows: int, depth: int, columns: int) -> None:
    out = torch.ones(rows, columns)
    gemm.add_product(out, torch.ones(rows, depth), torch.ones(depth, columns))
    assert torch.equal(out, torch.ones(rows, columns))
    gemm.multiply_into(out, torch.ones(rows, depth), torch.ones(depth, columns))
    assert torch.equal(out, torch.zeros(rows, columns))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.ones(40, 4), torch.ones(5, 6)),
        (torch.ones(40, 5), torch.ones(5, 6, dtype=F64)),
        (torch.ones(40, 5, dtype=F64), torch.ones(5, 6)),
    ],
)
def test_what_does_not_fit_is_refused(a: Tensor, b: Tensor) -> None:
    with pytest.raises(RuntimeError, match="that do not fit"):
        gemm.multiply(a, b)
    with pytest.raises(RuntimeError, match="that do not fit"):
        gemm.add_product(torch.zeros(40, 7), torch.ones(40, 5), torch.ones(5, 6))
