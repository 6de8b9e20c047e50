"""How the steps are launched: each by itself, after cuBLAS has multiplied its state, or all of them at once.

A launch has programs that own some rows of the batch and some units of each. Where the layer is small, the time goes
into launching two kernels a step, not into their work. There a program owns all units of its rows for all steps: it
multiplies the state of its rows itself and waits for no other program.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lsseq.nn.kernels.cuda.call import Call

LARGEST = 128
"""Units of a layer up to which all steps are one launch. At each step a program reads the whole weight, 4 H² numbers,
from a cache, and there is but one program for 16 rows. In a larger layer that takes longer than the launches that it
saves, as cuBLAS spreads a product over the whole GPU. Reckoned, not measured on a GPU."""

_SAYS_PRECISION = "input_precision" in inspect.signature(tl.dot).parameters
"""Whether Triton can be told how exactly to multiply: from version 3.0 on."""
_WIDTH = 256
"""Units of a program that does one step of one row."""
_ROWS = 16
"""Of a program that does all steps: the least that a product of tiles takes."""
_UNITS = 64
"""Whose sums such a program holds at a time."""
_BYTES = 128
"""Of each row and column that such a program multiplies at a time."""


@dataclass(frozen=True)
class Launch:
    """The programs of a launch, and what each does."""

    programs: tuple[int, int]
    """Blocks of rows, and of units."""
    weight: Tensor | None
    """(G·H, H): where all steps are one launch, and the product with the state is in the kernel."""
    options: dict[str, Any]

    @property
    def whole(self) -> bool:
        """Whether all steps are one launch."""
        return self.weight is not None

    def spans(self, steps: int) -> list[tuple[int, int]]:
        """The first step of each launch, and the one after its last."""
        return [(0, steps)] if self.whole else [(t, t + 1) for t in range(steps)]


def launch(call: Call) -> Launch:
    """How the steps of a call are launched: the place where this is chosen."""
    return all_steps(call) if serves_all_steps(call) else each_step(call)


def serves_all_steps(call: Call) -> bool:
    """Whether all steps can be one launch, and should be."""
    small = call.sizes[2] <= LARGEST
    plain = "gain" not in call.arrays and call.variant != "before"  # else there is more to a step than one product
    tiles = call.arrays["weight"].dtype != torch.float64  # which not every GPU can multiply in Triton
    return small and plain and tiles and _SAYS_PRECISION


def all_steps(call: Call) -> Launch:
    """One launch."""
    _, B, H = call.sizes
    weight = call.arrays["weight"]
    options = {
        "ROWS": _ROWS,
        "UNITS": min(max(16, triton.next_power_of_2(H)), _UNITS),
        "DEPTH": _BYTES // weight.element_size(),
        "TF32": _tf32(),
        "num_warps": 8,
        # What a step reads, the step before has written: nothing may be fetched ahead.
        "num_stages": 1,
    }
    return Launch((triton.cdiv(B, _ROWS), 1), weight, options=options)


def each_step(call: Call) -> Launch:
    """A launch a step. With layer norm of the cell a program has all units of a row."""
    _, B, H = call.sizes
    units = triton.next_power_of_2(H)
    if "cell_gain" not in call.arrays:
        units = min(units, _WIDTH)
    options = {"ROWS": 1, "UNITS": units, "DEPTH": 0, "TF32": False}
    return Launch((B, triton.cdiv(H, units)), None, options=options)


def _tf32() -> bool:
    """Whether PyTorch's own products of float32 may round to TF32."""
    matmul = torch.backends.cuda.matmul
    # The older setting cannot be read once the newer was written.
    return bool(matmul.fp32_precision == "tf32" if hasattr(matmul, "fp32_precision") else matmul.allow_tf32)
