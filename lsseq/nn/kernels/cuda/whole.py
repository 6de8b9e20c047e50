"""The product of the state with the weight inside a kernel that does all steps of its rows."""

from __future__ import annotations

import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.elementwise import units_from


@triton.jit
def plus_product(
    total,  # (rows, columns)
    left,  # (rows, 1): where each row of the left matrix begins
    right,  # (1, columns): where each column of the right matrix begins
    is_row,
    is_column,
    K,
    stride,  # from one number of a column to the next
    DEPTH: tl.constexpr,
    TF32: tl.constexpr,
):
    """total + left (rows, K) · right (K, columns), with sums in the type of the total."""
    for begin in range(0, K, DEPTH):
        k = begin + tl.arange(0, DEPTH)
        across = tl.load(left + k[None, :], mask=is_row & (k < K)[None, :], other=0)
        down = tl.load(right + k[:, None] * stride, mask=is_column & (k < K)[:, None], other=0)
        total = tl.dot(across, down, total, input_precision="tf32" if TF32 else "ieee")
    return total


@triton.jit
def through_product(
    d_state,  # (B, H): the gradient of the state that comes through the product, which is left here
    left,  # (rows, 1): where the gradients of the products of each row begin, (K,)
    weight,  # (K, H)
    row,
    B,
    H,
    K,
    rates,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    TF32: tl.constexpr,
):
    """The way back through the product, once every unit of the program's rows has its gradient."""
    tl.debug_barrier()
    for first in range(0, H, UNITS):
        unit = units_from(first, UNITS)
        d = tl.zeros([ROWS, UNITS], rates.dtype.element_ty)
        d = plus_product(d, left, weight + unit, row < B, unit < H, K, H, DEPTH, TF32)
        tl.store(d_state + row * H + unit, d, mask=(row < B) & (unit < H))
    tl.debug_barrier()
