"""The Mogrifier LSTM over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, R rounds, k rank, V numbers in all blocks of values
(src/mogrifier.h), F those of all but the first.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.cells.mogrifier import Gatings
from lsseq.nn.kernels.cpu import native, sequence
from lsseq.nn.kernels.cpu.gemm import add_product
from lsseq.nn.kernels.cpu.gradients import Arrays
from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.kernels.once import once_differentiable

_GIVEN = ("x", "h0", "c0", "weight_x", "weight", "bias_x")
_EVERY_STEP = ("x", "inputs", "output", "cells", "factors", "narrow", "d_output", "d_x")


class _Gating(ctypes.Structure):
    """`Gating` of src/mogrifier.h."""

    _fields_ = (("out", c_void_p), ("in", c_void_p))


class _Call(ctypes.Structure):
    """`MogrifierCall` of src/mogrifier.h."""

    _fields_ = (
        ("lstm", native.Call),
        ("weight_x", c_void_p),
        *((name, c_int64) for name in ("features", "rounds", "rank")),
        ("gatings", ctypes.POINTER(_Gating)),
        *((name, c_void_p) for name in ("x", "values", "factors", "narrow", "d_sums", "d_narrow", "d_x")),
    )


def kernel(x: Tensor, states: States, layer: Layer, gatings: Gatings) -> tuple[Tensor, States]:
    """The kernel of the Mogrifier LSTM (`lsseq.nn.kernels.mogrifier.MogrifierKernel`).

    Raises:
        ValueError: input and parameters differ in their dtype.
    """
    if not gatings:
        return sequence.kernel("LSTM")(x, states, layer)
    weights = layer.weights
    given: tuple[Tensor | None, ...] = (
        x,
        *(state.to(x.dtype) for state in states),
        weights.input.compose(),
        weights.hidden.compose(),
        weights.bias,
    )
    given += tuple(part for one in gatings for part in one)
    native.require_one_dtype(given)
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
        results = _Sequence.apply(layer, len(gatings), *given)  # type: ignore[no-untyped-call]
    else:
        results = _results(_run_forward(layer, len(gatings), given, saves=False))
    return results[0], results[1:]


def _run_forward(layer: Layer, rounds: int, given: Sequence[Tensor | None], *, saves: bool) -> Arrays:
    """The forward pass: what was given and what came out, with all that the backward pass needs if it `saves`."""
    parts = len(given) - len(_GIVEN)
    names = (*_GIVEN, *(f"gating {i}" for i in range(parts)))
    arrays: Arrays = {name: part.contiguous() for name, part in zip(names, given, strict=True) if part is not None}
    x = arrays["x"]
    (T, B, I), H = x.shape, arrays["h0"].shape[1]
    kept = T if saves else 1
    arrays["output"] = x.new_empty(T, B, H)
    arrays["cells"] = x.new_empty(kept, B, H)
    if saves:
        arrays["inputs"] = x.new_empty(T, B, 4 * H)
        arrays["factors"] = x.new_empty(T, B, _places(rounds, I, H)[-1] - H)
    if parts > rounds:
        arrays["narrow"] = x.new_empty(kept, B, rounds, arrays["gating 0"].shape[1])
    _run("mogrifier_forward", layer, rounds, arrays, saves=saves)
    return arrays


def _results(arrays: Arrays) -> tuple[Tensor, ...]:
    """The output, then the last states."""
    return arrays["output"], arrays["output"][-1].clone(), arrays["cells"][-1].clone()


class _Sequence(torch.autograd.Function):
    """(`_GIVEN`, then the matrices of each round) -> `_results`; its backward pass goes by pieces, as the LSTM's."""

    @staticmethod
    def forward(ctx: Any, layer: Layer, rounds: int, *given: Tensor | None) -> tuple[Tensor, ...]:
        arrays = _run_forward(layer, rounds, given, saves=True)
        ctx.set_materialize_grads(False)
        ctx.layer, ctx.rounds, ctx.names = layer, rounds, tuple(arrays)
        ctx.save_for_backward(*arrays.values())
        return _results(arrays)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        arrays: Arrays = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        x, layer, rounds = arrays["x"], ctx.layer, ctx.rounds
        names = ("d_output", "d_last_h", "d_last_c")
        given = {name: part.contiguous() for name, part in zip(names, d_results, strict=True) if part is not None}
        if ctx.needs_input_grad[2]:
            given["d_x"] = torch.empty_like(x)
        found = {f"d_{name}": torch.empty_like(arrays[name]) for name in ("h0", "c0")}
        learned = ("weight_x", "weight", "bias_x", *(name for name in arrays if name.startswith("gating")))
        added = {f"d_{name}": torch.zeros_like(arrays[name]) for name in learned}
        for begin, end in sequence.pieces(*x.shape[:2]):
            every_step = {name: part[begin:end] for name, part in (arrays | given).items() if name in _EVERY_STEP}
            part = arrays | given | found | every_step
            if begin > 0:
                part |= {"h0": arrays["output"][begin - 1], "c0": arrays["cells"][begin - 1]}
            _run_backward(layer, rounds, part, added, begin)
            given |= {f"d_last_{state}": found[f"d_{state}0"] for state in "hc"}
        return None, None, given.get("d_x"), *found.values(), *added.values()


def _run_backward(layer: Layer, rounds: int, part: Arrays, added: Arrays, begin: int) -> None:
    """The backward pass of the steps from `begin` on, whose arrays `part` has; adds to the gradients of parameters."""
    (T, B, I), H = part["x"].shape, part["h0"].shape[1]
    places = _places(rounds, I, H)
    part["values"] = part["x"].new_empty(T, B, places[-1])
    part["d_inputs"] = torch.empty_like(part["inputs"])
    part["d_sums"] = torch.empty_like(part["factors"])
    part["d_bias_x"] = torch.empty_like(added["d_bias_x"])
    if "narrow" in part:
        part["d_narrow"] = torch.empty_like(part["narrow"])
    _run("mogrifier_backward", layer, rounds, part, saves=True, first_step=begin)
    added["d_bias_x"] += part["d_bias_x"]
    values, d_sums, d_inputs = (part[name].flatten(0, 1) for name in ("values", "d_sums", "d_inputs"))
    blocks = [values[:, begin:end] for begin, end in pairwise(places)]
    for i in (rounds - 1, rounds):
        add_product(added["d_weight_x" if i % 2 else "d_weight"], d_inputs.t(), blocks[i])
    for i in range(rounds):
        read, d = blocks[i], d_sums[:, places[i + 1] - H : places[i + 2] - H]
        if "narrow" not in part:
            add_product(added[f"d_gating {i}"], d.t(), read)
            continue
        narrow, d_narrow = (part[name][:, :, i].flatten(0, 1) for name in ("narrow", "d_narrow"))
        add_product(added[f"d_gating {2 * i}"], d.t(), narrow)
        add_product(added[f"d_gating {2 * i + 1}"], d_narrow.t(), read)


def _places(rounds: int, I: int, H: int) -> list[int]:
    """Where each block of a row's values begins: h^0, x^1, h^2 …; V last."""
    return list(accumulate((I if i % 2 else H for i in range(rounds + 1)), initial=0))


def _run(name: str, layer: Layer, rounds: int, arrays: Arrays, *, saves: bool, first_step: int = 0) -> None:
    """Run a function of the library on these arrays."""
    (T, B, I), H = arrays["x"].shape, arrays["h0"].shape[1]
    factors = [part for name, part in arrays.items() if name.startswith("gating")]
    matrices = len(factors) // rounds  # of a round
    call = _Call(lstm=native.describe(layer, T, B, H, saves=saves, first_step=first_step), features=I, rounds=rounds)
    if matrices > 1:
        call.rank = factors[0].shape[1]
    # Threads meet after each matrix of a round, and after the step.
    call.lstm.threads = native.threads(
        T, B * (H * (I + H) + sum(map(Tensor.numel, factors)) // 4) // (len(factors) + 1)
    )
    pointers = [part.data_ptr() for part in factors]
    call.gatings = (_Gating * rounds)(
        *(_Gating(*pointers[i : i + matrices]) for i in range(0, len(pointers), matrices))
    )
    for field, tensor in arrays.items():
        if "gating" not in field:
            setattr(call if hasattr(call, field) else call.lstm, field, tensor.data_ptr())
    native.call_function(name, arrays["x"].dtype, call)
