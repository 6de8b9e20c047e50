"""The fused back end on a CPU: kernels in C over a whole sequence, compiled when the package is installed."""

from __future__ import annotations

import torch

from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.gemm import add_product, multiply
from lsseq.nn.kernels.cpu.sequence import kernel

__all__ = ["add_product", "description", "kernel", "multiply", "obstacle", "unserved"]

unserved: tuple[str, ...] = ()


def description() -> str:
    """What the kernels are."""
    return f"this project's kernels in C, {native.instruction_set()}"


def obstacle(dtype: torch.dtype) -> str | None:
    """Why the kernels cannot be used here, or None."""
    if dtype not in native.TYPES:
        return f"the CPU kernels compute in float32 and float64, not {str(dtype).removeprefix('torch.')}"
    found = native.compiled()
    return found if isinstance(found, str) else None
