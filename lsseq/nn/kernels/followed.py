"""Calls whose operations something follows, so that they must be PyTorch's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.autograd import forward_ad

# Private to PyTorch; a version without one of them is taken to have nothing of the kind.
_tracing_state: Callable[[], object] = getattr(torch._C, "_get_tracing_state", type(None))
_transforms_active = getattr(torch._C, "_are_functorch_transforms_active", bool)
_dispatch_modes = getattr(torch._C, "_len_torch_dispatch_stack", int)


def followed(device: str) -> bool:
    """Whether autocast on a type of device, a compiler, a tracer, `torch.func`, forward-mode differentiation or a
    dispatch mode follows what is computed now."""
    return (
        _autocast(device)
        or torch.compiler.is_compiling()
        or _tracing_state() is not None
        or _transforms_active()
        or _dispatch_modes() > 0
        or getattr(forward_ad, "_current_level", -1) >= 0
    )


def transformed() -> bool:
    """Whether `torch.func` follows."""
    return bool(_transforms_active())


def _autocast(device: str) -> bool:
    if device != "cpu":  # what computes elsewhere goes by it
        return False
    if not hasattr(torch, "get_autocast_dtype"):  # before PyTorch 2.4 there was a function a device
        return torch.is_autocast_cpu_enabled()
    return torch.is_autocast_enabled(device)
