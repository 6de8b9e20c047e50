"""Compiles every kernel of the CUDA back end as a forward and a backward pass would, for a GPU that need not be there,
and prints their names. Run by test_cuda.py; an argument is the compute capability, 80 without one."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

import lsseq.nn as lnn
from lsseq.nn.kernels import cuda, dispatch
from lsseq.nn.kernels.cuda import launch

TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32"}
TARGET = GPUTarget("cuda", int([*sys.argv, "80"][1]), 32)


def compile_only(kernel: JITFunction, *args: Any, grid: object, warmup: bool, **options: Any) -> None:
    """In the place of a launch."""
    call = inspect.signature(kernel.fn)
    for_compiler = {name: options.pop(name) for name in options.keys() - call.parameters.keys()}
    given = call.bind(*args, **options).arguments
    signature, constants = {}, {}
    for place, (name, value) in enumerate(given.items()):
        if isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
        elif value is None or kernel.params[place].is_constexpr:
            signature[name], constants[(place,)] = "constexpr", value
        else:
            signature[name] = "i32"
    triton.compile(ASTSource(kernel, signature, constants), target=TARGET, options=for_compiler)
    of = " of all steps" if isinstance(given.get("weight"), torch.Tensor) else ""
    print(f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}{of}")


JITFunction.run = compile_only
cuda.obstacle(torch.float32)  # tries the kernel that draws a mask
launch._programs_can_wait = lambda: True  # type: ignore[assignment]
dispatch.FUSED["cpu"] = cuda
cuda.obstacle = lambda dtype: None  # type: ignore[assignment]
for dtype, units, norm in (
    (torch.float32, 300, None),
    (torch.bfloat16, 300, "layer"),
    (torch.float32, 100, None),
    (torch.bfloat16, 100, None),
):
    options = {"zoneout_hidden": 0.1, "norm": norm, "backend": "fused", "dtype": dtype}
    dropout = {"recurrent_dropout": 0.1}
    for layer in (
        lnn.LSTM(3, units, zoneout_cell=0.5, **options, **dropout),
        lnn.GRU(3, units, **options, **dropout),
        lnn.GRU(3, units, reset="before", **options, **dropout),
        lnn.RNN(3, units, **options),
    ):
        layer(torch.zeros(1, 2, 3, dtype=dtype))[0].sum().backward()
