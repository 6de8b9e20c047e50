"""Calls whose operations something follows, so that they must be PyTorch's."""

from __future__ import annotations

import torch
from torch.autograd import forward_ad


def followed(device: str) -> bool:
    """Whether autocast on a type of device, a compiler, a tracer, `torch.func`, forward-mode differentiation or a
    dispatch mode follows what is computed now."""
    return (
        _autocast(device)
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or forward_ad._current_level >= 0
    )


def _autocast(device: str) -> bool:
    if device not in ("cpu", "cuda"):
        return False
    if not hasattr(torch, "get_autocast_dtype"):  # before PyTorch 2.4 there was a function a device
        return torch.is_autocast_cpu_enabled() if device == "cpu" else torch.is_autocast_enabled()
    return torch.is_autocast_enabled(device)
