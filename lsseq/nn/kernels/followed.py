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
        (device == "cpu" and autocast_type(device) is not None)  # what computes elsewhere goes by it
        or torch.compiler.is_compiling()
        or _tracing_state() is not None
        or _transforms_active()
        or _dispatch_modes() > 0
        or getattr(forward_ad, "_current_level", -1) >= 0
    )


def transformed() -> bool:
    """Whether `torch.func` follows."""
    return bool(_transforms_active())


def autocast_type(device: str) -> torch.dtype | None:
    """The type that autocast multiplies in on a type of device, or None where it is off."""
    if device not in ("cpu", "cuda"):
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    # Before PyTorch 2.4 there was a function a device.
    if device == "cpu":
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
