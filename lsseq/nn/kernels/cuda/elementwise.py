"""What the pointwise kernels share. They compute in the type of the table of rates: float32, or float64.

A program has a block of rows and units (`launch.py`).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

EPSILON = tl.constexpr(1e-5)
"""Of layer norm, as `lsseq.nn.parts.products` has it."""


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """The type of gates and cells in kernels for arrays of a type."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@triton.jit
def tanh(x):
    """Triton has none. In float32 the series near 0, where the fraction cancels; float64 has digits to spare."""
    size = tl.abs(x)
    power = tl.exp(-2 * size)
    y = (1 - power) / (1 + power)
    if x.dtype == tl.float32:
        square = size * size
        series = 1 + square * (-1 / 3 + square * (2 / 15 + square * (-17 / 315 + square * (62 / 2835))))
        y = tl.where(size < 0.2, size * series, y)
    return tl.where(x < 0, -y, y)


@triton.jit
def rows_of(ROWS: tl.constexpr):
    """The rows of this program (ROWS, 1)."""
    return tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]


@triton.jit
def units_of(UNITS: tl.constexpr):
    """The units of this program (1, UNITS)."""
    return tl.program_id(1) * UNITS + tl.arange(0, UNITS)[None, :]


@triton.jit
def line_of(t, B, row):
    """Where rows stand at a step in arrays (steps, B, …)."""
    return t.to(tl.int64) * B + row


@triton.jit
def take(at, inside, rates):
    """Values of units in the type to compute in; 0 beyond the last row and unit."""
    return tl.load(at, mask=inside, other=0).to(rates.dtype.element_ty)
