"""How the steps are launched: each by itself, after cuBLAS has multiplied its state, or all of them at once.

A launch has programs that own some rows of the batch and some units. All steps are one launch where as many programs
as the GPU has multiprocessors can share the layer: they run at the same time then, and wait for each other after each
step (`whole.py`), which takes far less time than the launches of two kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import torch
import triton
from torch import Tensor

from lsseq.nn.kernels.cuda.call import Call

_WIDTH = 256
"""Units of a program that does one step of one row."""
_TILES = [(16, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
"""Rows and units of a program that does all steps, the first that is large enough: the least are those of a product."""
_BYTES = 256
"""Most of each row and column that a program multiplies at a time."""
_SHARED = 2**16
"""Bytes of both matrices that a program may keep at a time, which every GPU has for it: what is multiplied, and what
comes next."""


@dataclass(frozen=True)
class Launch:
    """The programs of a launch, and what each does."""

    programs: tuple[int, int]
    """Blocks of rows, and of units."""
    weight: Tensor | None
    """(G·H, H): where the kernel itself multiplies the state with it."""
    options: dict[str, Any]
    together: bool = False
    """Whether all programs run at the same time, so that one launch can do all steps."""

    def spans(self, steps: int) -> list[tuple[int, int]]:
        """The first step of each launch, and the one after its last."""
        return [(0, steps)] if self.together else [(t, t + 1) for t in range(steps)]

    def counters(self) -> Tensor | None:
        """For each block of rows, the number of times that its programs have ended a step."""
        if self.weight is None or not self.together:
            return None
        return torch.zeros(self.programs[0], dtype=torch.int32, device=self.weight.device)


def launch(call: Call, *, back: bool = False) -> Launch:
    """How the steps of a call are launched, in either pass: the place where this is chosen."""
    return all_steps(call, back=back) if serves_all_steps(call) else each_step(call)


def serves_all_steps(call: Call) -> bool:
    """Whether all steps can be one launch."""
    plain = "gain" not in call.arrays and call.variant != "before"  # else there is more to a step than one product
    tiles = call.arrays["weight"].dtype != torch.float64  # which not every GPU can multiply in Triton
    return plain and tiles and _programs_can_wait() and _tile(call) is not None


def all_steps(call: Call, *, back: bool = False) -> Launch:
    """One launch, or where programs cannot wait for each other one a step."""
    _, B, H = call.sizes
    weight = call.arrays["weight"]
    rows, units = _tile(call) or _TILES[-1]
    slots = triton.next_power_of_2(len(weight) // H)
    numbers = slots * (rows + units) if back else rows + slots * units  # of each depth
    bytes_of_depth = numbers * weight.element_size()
    depth = min(_BYTES // weight.element_size(), _SHARED // (2 * bytes_of_depth))
    together = _programs_can_wait()
    options = {
        "ROWS": rows,
        "UNITS": units,
        "DEPTH": max(16, 1 << (depth.bit_length() - 1)),
        "PRECISION": _precision(weight.device),
        "num_warps": 4 if back else 8,
    } | ({"launch_cooperative_grid": True} if together else {})
    return Launch((triton.cdiv(B, rows), triton.cdiv(H, units)), weight, options, together)


def each_step(call: Call) -> Launch:
    """A launch a step. With layer norm of the cell a program has all units of a row."""
    _, B, H = call.sizes
    units = triton.next_power_of_2(H)
    if "cell_gain" not in call.arrays:
        units = min(units, _WIDTH)
    options = {"ROWS": 1, "UNITS": units, "DEPTH": 0, "PRECISION": ""}
    return Launch((B, triton.cdiv(H, units)), None, options)


def _tile(call: Call) -> tuple[int, int] | None:
    """The rows and units of a program such that all programs fit on the GPU at the same time."""
    _, B, H = call.sizes
    most = _multiprocessors(call.arrays["states"].device)
    for rows, units in _TILES:
        if triton.cdiv(B, rows) * triton.cdiv(H, units) <= most:
            return rows, units
    return None


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 128


@cache
def _programs_can_wait() -> bool:
    """Whether Triton can start all programs at the same time: compiled, from version 3.2 on."""
    try:
        from triton.backends.nvidia.compiler import CUDAOptions
    except ImportError:
        return False
    known = {field.name for field in fields(CUDAOptions)}
    return torch.cuda.is_available() and torch.version.hip is None and "launch_cooperative_grid" in known


def _precision(device: torch.device) -> str:
    """How float32 is multiplied: rounded to TF32 where cuDNN's recurrences may round it, as they do by default."""
    cudnn = torch.backends.cudnn
    newer = getattr(getattr(cudnn, "rnn", None), "fp32_precision", None)
    # The older setting cannot always be read once the newer was written.
    if cudnn.allow_tf32 if newer is None else newer == "tf32":
        return "tf32"
    # In three products of parts of the numbers, where there are units for TF32.
    return "ieee" if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0) else "tf32x3"
