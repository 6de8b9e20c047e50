"""The compiled library: finding it, and calling its functions with tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu import build
from lsseq.nn.kernels.layer import Layer
from lsseq.nn.parts.transition import LowRank
from lsseq.nn.random import Kind

TYPES = {torch.float32: "float32", torch.float64: "float64"}
_KINDS = (Kind.ZONEOUT_CELL, Kind.ZONEOUT_HIDDEN, Kind.RECURRENT_DROPOUT)
_NEEDED = ("weight", "h0", "inputs", "output")
_NEEDED_BY_LSTM = ("c0", "cells")
_REMEDY = f"with a C compiler at hand: python {build.__file__}"


class Call(ctypes.Structure):
    """`Call` of src/call.h, field by field."""

    _fields_ = (
        *((name, c_int64) for name in ("steps", "rows", "units", "rank")),
        ("sets", c_int64 * 3),
        *((name, c_int32) for name in ("tied", "threads", "variant", "draws", "saves")),
        ("key", c_uint64),
        *((name, c_uint32) for name in ("layer", "first_row", "first_step")),
        ("rates", c_double * len(_KINDS)),
        ("thresholds", c_int64 * len(_KINDS)),
        *(
            (name, c_void_p)
            for name in (
                *("weight", "right", "diagonal", "bias_x", "bias_h", "gain", "cell_gain", "cell_bias"),
                *("h0", "c0", "past_h", "past_c"),
                *("inputs", "output", "cells", "candidate", "narrow", "narrow_reset", "normal", "scales"),
                *("input_gain", "input_normal", "input_mean", "input_variance"),
                *("mean", "variance", "cell_mean", "cell_variance"),
                *("d_output", "d_cells", "d_last_h", "d_last_c", "d_inputs", "d_products"),
                *("d_narrow", "d_narrow_reset", "d_diagonal", "d_h0", "d_c0"),
                *("d_bias_x", "d_bias_h", "d_gain", "d_cell_gain", "d_cell_bias", "d_input_gain"),
            )
        ),
    )


@cache
def compiled() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    if not build.LIBRARY.exists():
        return f"the CPU kernels were not compiled when lsseq was installed ({_REMEDY})"
    try:
        found = ctypes.CDLL(str(build.LIBRARY))
        found.digest.restype = found.instruction_set.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        return f"the CPU kernels cannot be loaded: {error}"
    if found.digest().decode() != build.digest():
        return f"the CPU kernels were compiled from other sources ({_REMEDY})"
    return found


@cache
def instruction_set() -> str:
    """The best instruction set that this processor has and the library was compiled for."""
    name: bytes = _loaded().instruction_set()
    return name.decode()


def padded_units(units: int, dtype: torch.dtype) -> int:
    """How many units an array of the library's own has for so many."""
    size: int = _function("padded_units", dtype)(c_int64(units))
    return size


def describe(
    layer: Layer, steps: int, rows: int, units: int, sets: Sequence[int] = (), *, saves: bool, first_step: int = 0
) -> Call:
    """The part of a call that holds no tensors, for its steps from `first_step` on; `sets`: of its `BatchNorm`."""
    draws, hidden = layer.draws, layer.weights.hidden
    rank = hidden.rank if isinstance(hidden, LowRank) else 0
    rates = (layer.zoneout_cell, layer.zoneout_hidden, layer.recurrent_dropout)
    call = Call(
        steps=steps,
        rows=rows,
        units=units,
        rank=rank,
        sets=(c_int64 * 3)(*sets),
        tied=isinstance(hidden, LowRank) and hidden.tied,
        threads=threads(steps, rows * units * (2 * rank or units)),
        variant=layer.variant in ("before", "relu"),
        draws=draws is not None,
        saves=saves,
        first_step=first_step,
        rates=(c_double * len(_KINDS))(*rates),
        thresholds=(c_int64 * len(_KINDS))(*(round(rate * 2**32) - 2**31 for rate in rates)),
    )
    if draws is not None:
        call.key, call.layer, call.first_row = draws.key, draws.layer, draws.first_row
        call.first_step += draws.first_step
    return call


def run(name: str, call: Call, tensors: dict[str, Tensor]) -> None:
    """Run a function of the library on a call with these tensors, which must be contiguous and of one dtype.

    Raises:
        ValueError: one is missing that the library would read or write.
        MemoryError: there is not enough memory for what is packed.
    """
    needed = (*_NEEDED, *(_NEEDED_BY_LSTM if name.startswith("lstm") else ()))
    if missing := [field for field in needed if field not in tensors]:
        raise ValueError(f"{name} was not given {', '.join(missing)}")
    for field, tensor in tensors.items():
        setattr(call, field, tensor.data_ptr())
    call_function(name, tensors["inputs"].dtype, call)


def call_function(name: str, dtype: torch.dtype, call: ctypes.Structure) -> None:
    """Call a function of the library for a dtype.

    Raises:
        MemoryError: there is not enough memory for what is packed.
    """
    if _function(name, dtype)(ctypes.byref(call)) != 0:
        raise MemoryError("not enough memory for the kernels' packed weights")


def require_one_dtype(given: Iterable[Tensor | None]) -> None:
    """Raises ValueError where an input, states and parameters differ in their dtype: the library would take one for
    the other."""
    types = {part.dtype for part in given if part is not None}
    if len(types) > 1:
        named = ", ".join(sorted(map(str, types)))
        raise ValueError(f"expected an input, a state and parameters of one dtype, got {named}")


def threads(steps: int, products: int) -> int:
    """Threads for a call with so many multiplications a gate and step: to wake one and to meet costs microseconds."""
    return max(1, min(torch.get_num_threads(), products >> 17, steps * products >> 17))


@cache
def _function(name: str, dtype: torch.dtype) -> Callable[..., int]:
    function: Callable[..., int] = getattr(_loaded(), f"{name}_{TYPES[dtype]}_{instruction_set()}")
    return function


def _loaded() -> ctypes.CDLL:
    found = compiled()
    assert isinstance(found, ctypes.CDLL), found
    return found
