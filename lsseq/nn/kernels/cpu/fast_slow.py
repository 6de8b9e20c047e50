"""The fast-slow network over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, I input, H units of a cell, K cells.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.gemm import add_product
from lsseq.nn.kernels.cpu.gradients import Arrays, add_factor_gradients, add_outer
from lsseq.nn.kernels.cpu.inputs import Gradients, products
from lsseq.nn.kernels.cpu.sequence import ROW_BLOCK, SCALES, pieces
from lsseq.nn.kernels.fast_slow import Turns
from lsseq.nn.kernels.layer import Layer, States
from lsseq.nn.kernels.once import once_differentiable
from lsseq.nn.parts.transition import LowRank, Transition, transition

_FIRST, _SLOW, _SECOND = range(3)
_WITH_STATE = (_FIRST, _SLOW)
"""The cells that the initial states are of, and the last ones those before."""
_READERS = (_SLOW, _SECOND)
"""The cells that read what the one before them made in the same step."""
_STATES = ("h0", "c0")
_PARAMETERS = ("x.weight", "x.gain", "weight", "right", "diagonal", "bias_x", "gain", "cell_gain", "cell_bias")
"""Of each cell, those of the product with what it reads first. Their weights are whole, but for the first cell, whose
right factor stands apart."""
_OF_NORMS = ("x.gain", "gain", "cell_gain", "cell_bias")
"""Those whose gradients the library adds up, by blocks of rows."""
_OF_READING = ("seen", "shown")
_EVERY_STEP = (
    *("inputs", "output", "cells", "narrow", "normal", "scales", "x.normal", "x.scales"),
    *("seen", "shown", "d_output"),
)


class _Reading(ctypes.Structure):
    """`Reading` of src/fast_slow.h."""

    _fields_ = (
        ("product", native.Call),
        ("features", c_int64),
        *((name, c_void_p) for name in ("read", "seen")),
        ("held", c_int32),
        *((name, c_void_p) for name in ("shown", "d_read")),
    )


class _CellCall(ctypes.Structure):
    """`CellCall` of src/fast_slow.h."""

    _fields_ = (("lstm", native.Call), ("reading", _Reading))


class _Call(ctypes.Structure):
    """`FastSlowCall` of src/fast_slow.h."""

    _fields_ = (("cells", c_int64), ("turns", ctypes.POINTER(_CellCall)))


def kernel(x: Tensor, fast: States, slow: States, turns: Turns) -> tuple[Tensor, States, States]:
    """The kernel of the fast-slow network (`lsseq.nn.kernels.fast_slow.FastSlowKernel`).

    Raises:
        ValueError: input and parameters differ in their dtype.
    """
    first = turns.cells[_FIRST].weights.input
    given: tuple[Tensor | None, ...] = (x, first.tensors[1], *turns.seen)
    given += tuple(state.to(x.dtype) for state in (*fast, *slow))
    for k, cell in enumerate(turns.cells):
        weights, gains = cell.weights, cell.gains
        norm = (gains.hidden, gains.cell, gains.cell_bias) if gains else (None, None, None)
        weight = first.tensors[0] if k == _FIRST else weights.input.compose()
        given += (weight, gains.input if gains else None, *weights.hidden.tensors, weights.bias, *norm)
    native.require_one_dtype(given)
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
        results = _Sequence.apply(turns.cells, *given)  # type: ignore[no-untyped-call]
    else:
        results = _results(turns.cells, _run_forward(turns.cells, given, saves=False)[0])
    return results[0], results[1:3], results[3:]


def _fast(cells: Sequence[Layer]) -> list[int]:
    """The numbers of the fast cells, in the order of their turns."""
    return [k for k in range(len(cells)) if k != _SLOW]


def _all(names: Sequence[str], of: Sequence[int] | range) -> list[str]:
    """The names of arrays of these cells: cell K's are called K.NAME."""
    return [f"{k}.{name}" for k in of for name in names]


def _gradient(name: str) -> str:
    """The name of the gradient of what has this name."""
    prefix, _, field = name.rpartition(".")
    return f"{prefix}.d_{field}"


def _given(cells: Sequence[Layer]) -> list[str]:
    """What is given beside x and the right factor of the weight that multiplies it."""
    return [*_all(("seen",), _READERS), *_all(_STATES, _WITH_STATE), *_all(_PARAMETERS, range(len(cells)))]


def _run_forward(cells: Sequence[Layer], given: Sequence[Tensor | None], *, saves: bool) -> tuple[Arrays, list[Tensor]]:
    """The forward pass: what was given and what came out, with all that the backward pass needs if it `saves`.

    Beside it what `products` gives to keep.
    """
    x, right, *others = given
    assert x is not None
    arrays: Arrays = {
        name: part.contiguous() for name, part in zip(_given(cells), others, strict=True) if part is not None
    }
    sums, of_norm = products(x, *_of_input(arrays, right))
    arrays[f"{_FIRST}.inputs"] = sums.contiguous()
    T, B = x.shape[:2]
    kept = T if saves else 1
    for k, cell in enumerate(cells):
        hidden = cell.weights.hidden
        H, padded = hidden.size, 4 * native.padded_units(hidden.size, x.dtype)
        arrays[f"{k}.output"], arrays[f"{k}.cells"] = x.new_empty(T, B, H), x.new_empty(kept, B, H)
        if k != _FIRST:
            arrays[f"{k}.inputs"] = x.new_empty(T, B, 4 * H)
        if isinstance(hidden, LowRank):
            arrays[f"{k}.narrow"] = x.new_empty(kept, B, len(hidden.right))
        for product in ("", "x.") if k in _READERS else ("",):
            if cell.gains is not None:
                arrays[f"{k}.{product}normal"] = x.new_empty(kept, B, padded)
                arrays[f"{k}.{product}scales"] = x.new_empty(kept, B, SCALES)
        if f"{k}.seen" in arrays:
            arrays[f"{k}.shown"] = x.new_empty(kept, B, arrays[f"{k}.seen"].shape[2])
    _run("fast_slow_forward", cells, arrays, saves=saves)
    return arrays, of_norm


def _of_input(arrays: Arrays, right: Tensor | None) -> tuple[Transition, Tensor | None, list[int]]:
    """What multiplies x, the gain of these products, and the columns that are normalised together."""
    left = arrays[f"{_FIRST}.x.weight"]
    return transition(left, right), arrays.get(f"{_FIRST}.x.gain"), [len(left)]


def _results(cells: Sequence[Layer], arrays: Arrays) -> tuple[Tensor, ...]:
    """The output, then the last states (h, c) of the fast cells and of the slow one."""
    last = _fast(cells)[-1]
    states = (arrays[name][-1].clone() for name in _all(("output", "cells"), (last, _SLOW)))
    return arrays[f"{last}.output"], *states


class _Sequence(torch.autograd.Function):
    """(x (T, B, I), right factor of the weight that multiplies it, what `_given` says) -> `_results`; its backward pass
    goes by pieces, as that of the other recurrences."""

    @staticmethod
    def forward(ctx: Any, cells: Sequence[Layer], *given: Tensor | None) -> tuple[Tensor, ...]:
        arrays, of_norm = _run_forward(cells, given, saves=True)
        ctx.set_materialize_grads(False)
        ctx.cells, ctx.names = cells, tuple(arrays)
        ctx.save_for_backward(*given[:2], *arrays.values(), *of_norm)
        return _results(cells, arrays)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        x, right, *saved = ctx.saved_tensors
        arrays: Arrays = dict(zip(ctx.names, saved, strict=False))
        of_norm, cells = saved[len(arrays) :], ctx.cells
        T, B = x.shape[:2]
        last = _fast(cells)[-1]
        names = (f"{last}.d_output", *_all(("d_last_h", "d_last_c"), _WITH_STATE))
        given = {name: part.contiguous() for name, part in zip(names, d_results, strict=True) if part is not None}
        found = {_gradient(name): torch.empty_like(arrays[name]) for name in _all(_STATES, _WITH_STATE)}
        added = _empty_gradients(cells, arrays)
        wanted = (ctx.needs_input_grad[1], True, right is not None)
        of_inputs = Gradients(x, *_of_input(arrays, right), of_norm, wanted)
        for begin, end in pieces(T, B):
            part = {name: _steps(name, array, begin, end) for name, array in (arrays | given).items()} | found
            if begin > 0:
                for k, other in zip(_WITH_STATE, (last, _SLOW), strict=True):
                    part[f"{k}.h0"] = arrays[f"{other}.output"][begin - 1]
                    part[f"{k}.c0"] = arrays[f"{other}.cells"][begin - 1]
            of_inputs.add(_run_backward(cells, part, added, begin), begin, end)
            given |= {f"{k}.d_last_{state}": found[f"{k}.d_{state}0"] for k in _WITH_STATE for state in "hc"}
        of_norms = [_gradient(name) for name in _all(_OF_NORMS, range(len(cells)))]
        added |= {name: added[name].sum(0) for name in of_norms if name in added}
        for name, gradient in (("weight", of_inputs.weight), ("gain", of_inputs.gain)):
            if gradient is not None:
                added[f"{_FIRST}.x.d_{name}"] = gradient
        gradients = ((found | added).get(_gradient(name)) for name in _given(cells))
        return None, of_inputs.x, of_inputs.right, *gradients


def _steps(name: str, array: Tensor, begin: int, end: int) -> Tensor:
    """An array as a call for the steps [begin, end) has it; one that is for all steps stays as it is."""
    return array[begin:end] if name.partition(".")[2] in _EVERY_STEP and len(array) > 1 else array


def _empty_gradients(cells: Sequence[Layer], arrays: Arrays) -> Arrays:
    """Arrays for the gradients of parameters, which are added up; those of norms have blocks of rows."""
    row_blocks = -(-len(arrays[f"{_FIRST}.h0"]) // ROW_BLOCK)
    added = {}
    for name in _all(_PARAMETERS, range(len(cells))):
        if name in arrays:
            blocks = (row_blocks,) if name.partition(".")[2] in _OF_NORMS else ()
            added[_gradient(name)] = arrays[name].new_zeros(*blocks, *arrays[name].shape)
    return added


def _run_backward(cells: Sequence[Layer], part: Arrays, added: Arrays, begin: int) -> Tensor:
    """The backward pass of the steps from `begin` on, whose arrays `part` has; adds to the gradients of parameters.

    Gives that of the products with x.
    """
    for k in range(len(cells)):
        inputs = part[f"{k}.inputs"]
        d_inputs = part[f"{k}.d_inputs"] = torch.empty_like(inputs)
        for product in ("", "x."):
            normalised = f"{k}.{product}normal" in part
            part[f"{k}.{product}d_products"] = torch.empty_like(inputs) if normalised else d_inputs
        part |= {
            _gradient(name): torch.empty_like(part[name])
            for name in _all(("narrow", "diagonal", "bias_x"), (k,))
            if name in part
        }
        part |= {_gradient(name): added[_gradient(name)] for name in _all(_OF_NORMS, (k,)) if name in part}
        if k + 1 in _READERS:
            part[f"{k}.d_output"] = torch.empty_like(part[f"{k}.output"])
    _run("fast_slow_backward", cells, part, saves=True, first_step=begin)
    for k, cell in enumerate(cells):
        _add_weight_gradients(cell, k, part, added, _started_from(cells, k, part))
        if k in _READERS:
            d = part[f"{k}.x.d_products"].flatten(0, 1)
            read = part.get(f"{k}.shown", part[f"{k - 1}.output"]).flatten(0, 1)
            add_product(added[f"{k}.x.d_weight"], d.t(), read)
    return part[f"{_FIRST}.d_inputs"]


def _started_from(cells: Sequence[Layer], k: int, part: Arrays) -> tuple[Tensor, ...]:
    """The states that the steps of a cell start from, (·, B, H) each, in one piece or the first step apart."""
    fast = _fast(cells)
    if k in _WITH_STATE:
        before = _SLOW if k == _SLOW else fast[-1]
        return part[f"{k}.h0"].unsqueeze(0), part[f"{before}.output"][:-1]
    return (part[f"{fast[fast.index(k) - 1]}.output"],)


def _add_weight_gradients(cell: Layer, k: int, part: Arrays, added: Arrays, states: tuple[Tensor, ...]) -> None:
    """Adds to the gradients of the weight of the state, or of its factors, and of the biases."""
    hidden, d = cell.weights.hidden, part[f"{k}.d_products"]
    if isinstance(hidden, LowRank):
        d_factors = added[f"{k}.d_weight"], added[f"{k}.d_right"]
        add_factor_gradients(*d_factors, d, part[f"{k}.narrow"], part[f"{k}.d_narrow"], *states)
        if hidden.diagonal is not None:
            added[f"{k}.d_diagonal"] += part[f"{k}.d_diagonal"]
    else:
        add_outer(added[f"{k}.d_weight"], d, *states)
    if f"{k}.d_bias_x" in added:
        of_library = part[f"{k}.d_bias_x"] if cell.gains is None else part[f"{k}.d_inputs"].sum((0, 1))
        added[f"{k}.d_bias_x"] += of_library


def _run(name: str, cells: Sequence[Layer], arrays: Arrays, *, saves: bool, first_step: int = 0) -> None:
    """Run a function of the library on these arrays."""
    T, B = arrays[f"{_FIRST}.output"].shape[:2]
    turns = (_CellCall * len(cells))()
    for k, cell in enumerate(cells):
        turns[k].lstm = native.describe(cell, T, B, cell.weights.hidden.size, saves=saves, first_step=first_step)
    threads = max(turn.lstm.threads for turn in turns)
    for place, tensor in arrays.items():
        number, _, field = place.partition(".")
        turn = turns[int(number)]
        own = turn.reading.product if field.startswith("x.") else turn.reading if field in _OF_READING else turn.lstm
        setattr(own, field.removeprefix("x."), tensor.data_ptr())
    for k, turn in enumerate(turns):
        turn.lstm.threads = threads
        if k in _READERS:
            _read(turn, turns[k - 1], arrays.get(f"{k}.seen"))
    fast = _fast(cells)
    for k, before in zip(fast, [fast[-1], *fast], strict=False):
        own, h, c = turns[k].lstm, arrays[f"{before}.output"], arrays[f"{before}.cells"]
        if k != _FIRST:
            own.h0, own.c0 = h.data_ptr(), c.data_ptr()
        skipped = 0 if k == _FIRST else h[0].nbytes
        own.past_h, own.past_c = h.data_ptr() + skipped, c.data_ptr() + (skipped if saves else 0)
    native.call_function(name, arrays[f"{_FIRST}.h0"].dtype, _Call(cells=len(cells), turns=turns))


def _read(turn: _CellCall, before: _CellCall, seen: Tensor | None) -> None:
    """Tells a cell that it reads the one before it."""
    reading, lstm = turn.reading, turn.lstm
    reading.features, reading.read, reading.d_read = before.lstm.units, before.lstm.output, before.lstm.d_output
    reading.held = seen is not None and len(seen) == 1
    product = reading.product
    for name in ("steps", "rows", "units", "threads", "saves", "inputs", "d_inputs"):
        setattr(product, name, getattr(lstm, name))
