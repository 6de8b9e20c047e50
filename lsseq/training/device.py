"""Which device and number format a recipe's training uses."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Literal, get_args

import torch

from lsseq.recipe.faults import KeyFault

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]


def choose_device(name: Device) -> torch.device:
    """The device that `training.device` names; `auto` takes CUDA where there is one.

    Raises:
        KeyFault: another name, or CUDA is asked for and there is none.
    """
    if name not in get_args(Device):
        raise KeyFault("training.device", f"unknown device `{name}`", hint=f"known are {', '.join(get_args(Device))}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        built = torch.version.cuda is not None
        why = "torch finds no CUDA device" if built else "this torch was built without CUDA"
        raise KeyFault("training.device", f"cuda is not available: {why}", hint="leave it at `auto`, or choose `cpu`")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


class MixedPrecision:
    """The number format of the matrix products: autocast, and loss scaling for float16.

    Raises:
        KeyFault: the device cannot compute in the format at a speed worth having.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        if device.type == "cpu" and precision == "float16":
            raise KeyFault("training.precision", "float16 needs CUDA", hint="the CPU trains in float32")
        if device.type == "cpu" and precision == "bfloat16" and not cpu_has_bfloat16():
            raise KeyFault(
                "training.precision",
                "this CPU has no bfloat16 instructions, and emulating them is many times slower than float32",
                hint="keep `float32`; bfloat16 needs AVX512-BF16, AMX or Armv8.6, or CUDA",
            )
        if device.type == "cuda" and precision == "bfloat16" and not torch.cuda.is_bf16_supported():
            raise KeyFault("training.precision", "this GPU has no bfloat16", hint="choose `float16` or `float32`")
        self._device = device
        self._dtype = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "float16")

    def autocast(self) -> AbstractContextManager[object]:
        """The context of the forward pass."""
        if self._dtype is None:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself, as far as the system tells.

    PyTorch says no more than that it *can* compute in bfloat16, which it also does by emulation.
    """
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
