"""The product of the state with the weight inside a kernel that does all steps, and how its programs wait for another.

A program has some rows of the batch and some units, whose rows of the weight it multiplies with the whole state. So
after each step it waits for the programs that have the other units of its rows. All of them run at the same time
(`launch.py`), and count themselves in a counter for each block of rows.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def arrive(counter):
    """Says that the program's part of a step is in memory."""
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")


@triton.jit
def wait(counter, arrivals):
    """Until so many programs have arrived since the launch: what they left in memory can be read then."""
    while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < arrivals:
        pass
    tl.debug_barrier()


@triton.jit
def columns_of(GATES: tl.constexpr, SLOTS: tl.constexpr, H, UNITS: tl.constexpr):
    """The rows of the weight (G·H, H) that belong to the program's units, gate by gate for each unit, (1, UNITS·SLOTS);
    and which of them there are. SLOTS is the next power of two of GATES."""
    column = tl.arange(0, UNITS * SLOTS)[None, :]
    gate, unit = column % SLOTS, tl.program_id(1) * UNITS + column // SLOTS
    return gate * H + unit, (gate < GATES) & (unit < H)


@triton.jit
def product(
    left,  # (rows, 1): where each row of the left matrix begins, (K,)
    is_row,
    right,  # (1, columns): where each column of the right matrix begins, (K,)
    stride,  # from one number of a column to the next
    is_column,
    K,
    like,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """left (rows, K) · right (K, columns), with sums in the type of `like`. The left matrix is what other programs
    have just written, which is not in the cache of this one's processor."""
    total = tl.zeros([ROWS, COLUMNS], like.dtype.element_ty)
    for begin in range(0, K, DEPTH):
        k = begin + tl.arange(0, DEPTH)
        across = tl.load(left + k[None, :], mask=is_row & (k < K)[None, :], other=0, cache_modifier=".cg")
        down = tl.load(right + k[:, None] * stride, mask=is_column & (k < K)[:, None], other=0)
        total = tl.dot(across, down, total, input_precision=PRECISION)
    return total


@triton.jit
def product_over_gates(
    left,  # (rows, 1): where each row of the left matrix begins, (G·H,)
    is_row,
    right,  # (1, units): where each column of the right matrix begins, (G·H,)
    is_unit,
    H,
    like,
    GATES: tl.constexpr,
    SLOTS: tl.constexpr,
    UNITS: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """left (rows, G·H) · right (G·H, units), as a product for each gate, which warps share, and their sum."""
    gate = tl.arange(0, SLOTS)[:, None, None]
    left, right = left[None, :, :] + gate * H, right[None, :, :] + gate * H * H
    total = tl.zeros([SLOTS, ROWS, UNITS], like.dtype.element_ty)
    for begin in range(0, H, DEPTH):
        k = begin + tl.arange(0, DEPTH)
        along, down = k[None, None, :], k[None, :, None]
        is_left = is_row[None, :, :] & (gate < GATES) & (along < H)
        is_right = is_unit[None, :, :] & (gate < GATES) & (down < H)
        across = tl.load(left + along, mask=is_left, other=0, cache_modifier=".cg")
        total = tl.dot(across, tl.load(right + down * H, mask=is_right, other=0), total, input_precision=PRECISION)
    return tl.sum(total, 0)


@triton.jit
def by_gate(total, ROWS: tl.constexpr, UNITS: tl.constexpr):
    """What `columns_of` with four slots puts side by side, (ROWS, 4·UNITS), as four of (ROWS, UNITS)."""
    even, odd = tl.split(tl.reshape(total, (ROWS, UNITS, 2, 2)))
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth
