"""The memory that training a layer takes at its peak."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from lsseq.measure.timing import train

_PROCESS = Path("/proc/self")


def peak_bytes(layer: Callable[[], nn.Module], x: Callable[[], Tensor], device: torch.device) -> int | None:
    """Bytes that a layer, its input and one training step need at their peak beyond what was there before.

    `layer` and `x` make the layer and an input (T, B, I) that wants a gradient; both are counted, with all that is kept
    for the backward pass, the gradients and the buffers that kernels allocate. On CUDA these are the bytes that PyTorch
    allocates. On the CPU they are the pages that the process uses: the most since the start (VmHWM) less those at the
    start (VmRSS), after what was freed before went back to the system. That counts what kernels allocate without
    PyTorch, too, but not the buffers that a library kept from earlier calls; it scatters by some percent, and tells
    nothing of layers below a few MB. None where the system does not tell (Linux does).
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        train(layer(), x())()
        return torch.cuda.max_memory_allocated(device) - before
    try:
        _hand_back()
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")  # sets VmHWM to VmRSS
        before = _pages("VmRSS")
        train(layer(), x())()
        return _pages("VmHWM") - before
    except OSError:
        return None


def _hand_back() -> None:
    """Give the system back what was freed, so that it counts when it is taken again; glibc can."""
    if sys.platform.startswith("linux") and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def _pages(of: str) -> int:
    """A line of the process's status, in bytes."""
    text = (_PROCESS / "status").read_text(encoding="utf-8", errors="replace")
    found = re.search(rf"^{of}:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise OSError(f"the system does not tell {of}")
    return 1024 * int(found[1])
