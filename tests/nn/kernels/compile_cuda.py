"""Compiles every kernel of the CUDA back end as a forward and a backward pass would, for a GPU that need not be there,
and prints their names. Run by test_cuda.py."""

from __future__ import annotations

import inspect
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

import lsseq.nn as lnn
from lsseq.nn.kernels import cuda, dispatch

TYPES = {torch.bfloat16: "*bf16", torch.float32: "*fp32", torch.float64: "*fp64", torch.int32: "*i32"}
TARGET = GPUTarget("cuda", 80, 32)


def compile_only(kernel: JITFunction, *args: Any, grid: object, warmup: bool, **options: Any) -> None:
    """In the place of a launch."""
    signature, constants = {}, {}
    for place, (name, value) in enumerate(inspect.signature(kernel.fn).bind(*args, **options).arguments.items()):
        if isinstance(value, torch.Tensor):
            signature[name] = TYPES[value.dtype]
        elif value is None or kernel.params[place].is_constexpr:
            signature[name], constants[(place,)] = "constexpr", value
        else:
            signature[name] = "i32"
    triton.compile(ASTSource(kernel, signature, constants), target=TARGET)
    print(f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}")


JITFunction.run = compile_only
cuda.obstacle(torch.float32)  # tries the kernel that draws a mask
dispatch.FUSED["cpu"] = cuda
cuda.obstacle = lambda dtype: None  # type: ignore[assignment]
for dtype, norm in ((torch.float32, None), (torch.bfloat16, "layer")):
    options = {"zoneout_hidden": 0.1, "norm": norm, "backend": "fused", "dtype": dtype}
    dropout = {"recurrent_dropout": 0.1}
    for layer in (
        lnn.LSTM(3, 300, zoneout_cell=0.5, **options, **dropout),
        lnn.GRU(3, 300, **options, **dropout),
        lnn.GRU(3, 300, reset="before", **options, **dropout),
        lnn.RNN(3, 300, **options),
    ):
        layer(torch.zeros(1, 2, 3, dtype=dtype))[0].sum().backward()
