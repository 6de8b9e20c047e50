"""Products of matrices of many rows by the compiled library: what a whole sequence multiplies at once.

The library that PyTorch multiplies with is not the fastest on every processor; a step's products and these should have
the same speed.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_int64, c_void_p

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu import native

_FEW = 32
"""Rows below which packing a matrix costs more than it saves."""
_DEEP = 1024
"""Products that are summed in one go; a deeper sum would leave room for few rows in the cache."""


class _Product(ctypes.Structure):
    """`Product` of src/gemm.c."""

    _fields_ = (
        *((name, c_int64) for name in ("rows", "depth", "columns", "a_stride", "a_step", "b_stride", "out_stride")),
        *((name, c_int32) for name in ("b_turned", "add", "threads")),
        *((name, c_void_p) for name in ("a", "b", "out")),
    )


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """a b, of (N, K) and (K, M).

    Raises:
        RuntimeError: they do not fit in size or dtype, here as below.
    """
    out = a.new_empty(len(a), b.shape[1])
    _gemm(out, a, b, add=False)
    return out


def multiply_into(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out = a b, of (N, M), (N, K) and (K, M)."""
    _gemm(out, a, b, add=False)


def add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a b, of (N, M), (N, K) and (K, M)."""
    _gemm(out, a, b, add=True)


def _gemm(out: Tensor, a: Tensor, b: Tensor, *, add: bool) -> None:
    # The library trusts what it is told: a wrong size or type would read memory that is not the matrices'.
    if a.shape[1] != len(b) or out.shape != (len(a), b.shape[1]) or not a.dtype == b.dtype == out.dtype:
        what = ", ".join(f"{tuple(matrix.shape)} of {matrix.dtype}" for matrix in (a, b, out))
        raise RuntimeError(f"matrices that do not fit: {what}")
    a, b = (matrix if 1 in matrix.stride() else matrix.contiguous() for matrix in (a, b))
    if len(a) < _FEW or b.numel() == 0 or out.stride(1) != 1:
        out.addmm_(a, b, beta=int(add))
        return
    for begin in range(0, len(b), _DEEP):
        end = begin + _DEEP
        product = _describe(out, a[:, begin:end], b[begin:end], add=add or begin > 0)
        native.call_function("gemm", out.dtype, product)


def _describe(out: Tensor, a: Tensor, b: Tensor, *, add: bool) -> _Product:
    (rows, depth), columns = a.shape, b.shape[1]
    turned = b.stride(1) != 1
    return _Product(
        rows=rows,
        depth=depth,
        columns=columns,
        a_stride=a.stride(0),
        a_step=a.stride(1),
        b_stride=b.stride(1 if turned else 0),
        out_stride=out.stride(0),
        b_turned=turned,
        add=add,
        threads=max(1, min(torch.get_num_threads(), rows * depth * columns >> 20)),
        a=a.data_ptr(),
        b=b.data_ptr(),
        out=out.data_ptr(),
    )
