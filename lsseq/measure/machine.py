"""The machine that figures are of: devices, names, versions, load, and its speed at matrix products."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import lsseq
from lsseq.errors import RequestError
from lsseq.nn.kernels import cpu
from lsseq.nn.kernels.dispatch import FUSED


def devices() -> list[torch.device]:
    """Every kind of device that there is here."""
    kinds = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [torch.device(kind) for kind in kinds]


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is CUDA where there is one.

    Raises:
        RequestError: it is not there.
    """
    found = devices()
    if name == "auto":
        return found[-1]
    if torch.device(name) not in found:
        raise RequestError(f"there is no device `{name}` here", hint="leave --device out, or choose `cpu`")
    return torch.device(name)


def machine_name(device: torch.device) -> str:
    """The processor, with its number of cores, or the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_devices() -> list[dict[str, Any]]:
    """The entries of `devices` in `lsseq doctor --json`."""
    return [_describe(device) for device in devices()]


def _describe(device: torch.device) -> dict[str, Any]:
    values: dict[str, Any] = {"device": device.type, "name": machine_name(device)}
    if device.type == "cpu":
        values["threads"] = torch.get_num_threads()
    fused = FUSED.get(device.type)
    reason = f"there are no fused kernels for {device.type}" if fused is None else fused.obstacle(torch.float32)
    if fused is None or reason is not None:
        return values | {"fused": {"available": False, "reason": reason}}
    return values | {"fused": {"available": True, "what": fused.description()}}


def versions() -> dict[str, str]:
    """Of Python and the libraries that compute, as far as they are there."""
    found = {"lsseq": lsseq.__version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "triton"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def load() -> float | None:
    """How many processes compute here, on average over the last minute; None where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def busy(load: float | None, threads: int) -> str | None:
    """A warning where other processes leave fewer processors than threads, or None."""
    cores = os.cpu_count() or 1
    if load is None or load + threads < cores + 0.5:
        return None
    return (
        f"warning: this machine is busy (load {load:.1f} on {cores} cores, {threads} threads wanted): figures scatter"
    )


@contextmanager
def without_tf32() -> Iterator[None]:
    """CUDA computes float32 products in float32 here. By default cuDNN's recurrences do not, and others do."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def clock(device: torch.device) -> float:
    """Seconds on a clock, once the device has done what it was told.

    Where one thread of a CPU computes they are the processor's, which other processes add little to, else those that
    pass.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def product_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations per second of the best of a second's large matrix products.

    PyTorch's, and on a CPU this project's: which of them is faster depends on the processor.
    """
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    libraries: list[Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = [torch.mm]
    if device.type == "cpu" and cpu.obstacle(dtype) is None:
        libraries.append(cpu.multiply)
    times: list[float] = []
    while len(times) < 6 or sum(times) < 1.0:
        for multiply in libraries:
            begin = clock(device)
            multiply(left, right)
            times.append(clock(device) - begin)
    return 2.0 * size**3 / min(times)


@dataclass(frozen=True)
class Machine:
    """What figures depend on besides the layer; the keys of `lsseq bench --json` beside `rows`."""

    device: str
    machine: str
    torch: str
    threads: int
    load: float | None
    """Before anything was measured."""
    gemm_flops_per_second: float


def this_machine(device: torch.device, dtype: torch.dtype) -> Machine:
    """The machine as it is now, its speed at matrix products measured."""
    now = load()
    with without_tf32():
        speed = product_speed(device, dtype)
    return Machine(device.type, machine_name(device), torch.__version__, torch.get_num_threads(), now, speed)
