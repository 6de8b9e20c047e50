"""Recurrences over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.batch_norm import BatchNorm
from lsseq.nn.kernels.cpu.gradients import Arrays, add_weight_gradients, bias_gradients
from lsseq.nn.kernels.cpu.inputs import Gradients, products
from lsseq.nn.kernels.layer import Kernel, Layer, States, counted, step_numbers
from lsseq.nn.kernels.once import once_differentiable
from lsseq.nn.parts.transition import LowRank, transition

_GAINS = ("gain", "cell_gain", "cell_bias", "input_gain")
_GIVEN = ("h0", "c0", "weight", "right", "diagonal", "bias_x", "bias_h", *_GAINS)
_D_RESULTS, _D_EVERY_STEP = ("d_output", "d_last_h", "d_last_c"), ("d_output", "d_cells")
_EVERY_STEP = (
    *("inputs", "output", "cells", "candidate", "narrow", "narrow_reset", "normal", "scales", "input_normal"),
    *("input_mean", "input_variance", "mean", "variance", "cell_mean", "cell_variance", "d_output", "d_cells"),
)
_PIECE = 1024
"""Rows times steps that the backward pass does at a time, at most but for one step of many rows."""
_PIECE_ALONE = 4096
"""The same of a forward pass that no backward one follows, which packs the weights anew each time."""
ROW_BLOCK = 4
"""Rows whose gains' gradients the library adds up with layer norm; with batch norm all (src/call.h)."""
SCALES = 4
"""What the library keeps of a row that is normalised (src/call.h)."""


def kernel(recurrence: str) -> Kernel:
    """The kernel of a recurrence: LSTM, GRU or RNN."""

    cell = recurrence.lower()

    def run(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
        given = _given(x, states, layer)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
            results = _Sequence.apply(cell, layer, _batch_norm(x, states, layer), *given)  # type: ignore[no-untyped-call]
        elif layer.every_step:
            arrays, _ = _run_forward(cell, layer, _batch_norm(x, states, layer), given)
            results = _results(arrays, layer)
        else:
            return _run_alone(cell, x, states, layer)
        after = results if layer.every_step else results[1:]
        return results[0], (*after, *counted(states, x, layer))

    return run


def pieces(steps: int, rows: int, most: int | None = None) -> Iterator[tuple[int, int]]:
    """The steps [begin, end) that are done at a time, from the end of the sequence on: of `most` rows times steps, or
    as many as a backward pass does."""
    length = -(-steps // max(1, -(-steps * rows // (most or _PIECE))))
    for end in range(steps, 0, -length):
        yield max(0, end - length), end


def _given(x: Tensor, states: States, layer: Layer) -> tuple[Tensor | None, ...]:
    """What the results depend on: x, weight and gain of the products with the input, then the tensors of `_GIVEN`.

    Raises:
        ValueError: input and parameters differ in their dtype.
    """
    weights, gains = layer.weights, layer.gains
    h0, c0 = (*(state.to(x.dtype) for state in states), None)[:2]
    of_gains = (gains.hidden, gains.cell, gains.cell_bias) if gains else (None, None, None)
    # Layer norm of the products with the input is done beforehand for all steps at once, batch norm by the library.
    input_gain = gains.input if gains else None
    before, within = (input_gain, None) if gains is None or gains.statistics is None else (None, input_gain)
    given = (x, *weights.input.tensors[:2], before, h0, c0, *weights.hidden.tensors)
    given += (weights.input_bias, weights.hidden_bias, *of_gains, within)
    native.require_one_dtype(given)
    return given


def _batch_norm(x: Tensor, states: States, layer: Layer) -> BatchNorm | None:
    statistics = layer.gains.statistics if layer.gains else None
    return None if statistics is None else BatchNorm(statistics, step_numbers(states), x)


def _run_alone(cell: str, x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
    """The forward pass that no backward one follows, some steps at a time: what they need stays in the cache."""
    T, B, _ = x.shape
    output = x.new_empty(T, B, states[0].shape[1])
    for begin, end in reversed(list(pieces(T, B, _PIECE_ALONE))):
        part, draws = x[begin:end], layer.draws
        later = replace(layer, draws=None if draws is None else replace(draws, first_step=draws.first_step + begin))
        norm = _batch_norm(part, states, layer)
        arrays, _ = _run_forward(cell, later, norm, _given(part, states, layer), output[begin:end])
        states = (*_results(arrays, layer)[1:], *counted(states, part, layer))
    return output, states


def _blocks(cell: str, H: int) -> list[int]:
    """Columns of the products with the input that are normalised together."""
    return {"lstm": [4 * H], "gru": [2 * H, H], "rnn": [H]}[cell]


def _run_forward(
    cell: str, layer: Layer, norm: BatchNorm | None, given: Sequence[Tensor | None], output: Tensor | None = None
) -> tuple[Arrays, list[Tensor]]:
    """The forward pass: what was given and what came out, with all that the backward pass needs if there is no `output`
    to write into.

    Beside it what `products` gives to keep.
    """
    saves = output is None
    x, weight, right, gain, *others = given
    assert x is not None
    assert weight is not None
    arrays: Arrays = {name: part.contiguous() for name, part in zip(_GIVEN, others, strict=True) if part is not None}
    H, hidden = arrays["h0"].shape[1], layer.weights.hidden
    sums, of_norm = products(x, transition(weight, right), gain, _blocks(cell, H))
    inputs = arrays["inputs"] = sums.contiguous()
    T, B, columns = inputs.shape
    kept = T if saves else 1
    arrays["output"] = inputs.new_empty(T, B, H) if output is None else output
    if cell == "lstm":
        arrays["cells"] = inputs.new_empty(kept, B, H)
    if cell == "gru" and layer.variant == "after" and saves:
        arrays["candidate"] = inputs.new_empty(T, B, H)
    if isinstance(hidden, LowRank):
        narrow = len(hidden.right)
        if layer.variant == "before":
            narrow -= 0 if hidden.tied else hidden.rank  # the candidate's, which has its own
            arrays["narrow_reset"] = inputs.new_empty(kept, B, hidden.rank)
        arrays["narrow"] = inputs.new_empty(kept, B, narrow)
    if norm is not None:
        arrays |= norm.arrays(inputs, H, saves=saves)
    elif "gain" in arrays:
        padded = native.padded_units(H, inputs.dtype) * (columns // H)
        arrays["normal"] = inputs.new_empty(kept, B, padded)
        arrays["scales"] = inputs.new_empty(kept, B, SCALES)
    native.run(f"{cell}_forward", native.describe(layer, T, B, H, norm.sets if norm else (), saves=saves), arrays)
    if norm is not None:
        norm.finish()
    return arrays, of_norm


def _results(arrays: Arrays, layer: Layer) -> tuple[Tensor, ...]:
    """The output, then the last states; or the states of every step, of which the output is the first."""
    states = tuple(arrays[name] for name in ("output", "cells") if name in arrays)
    return states if layer.every_step else (states[0], *(state[-1].clone() for state in states))


class _Sequence(torch.autograd.Function):
    """(x (T, B, I), weight (G·H, I) or its factors and gain of its products, initial states, parameters) -> `_results`.

    The backward pass goes over the sequence from its end, some steps at a time, so that it holds the gradients of the
    gates for these only, and reads them again while they are in the cache.
    """

    @staticmethod
    def forward(ctx: Any, cell: str, layer: Layer, norm: BatchNorm | None, *given: Tensor | None) -> tuple[Tensor, ...]:
        arrays, of_norm = _run_forward(cell, layer, norm, given)
        ctx.set_materialize_grads(False)
        ctx.cell, ctx.layer, ctx.norm, ctx.names = cell, layer, norm, tuple(arrays)
        ctx.save_for_backward(*given[:4], *arrays.values(), *of_norm)
        return _results(arrays, layer)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight_x, right_x, gain_x, *saved = ctx.saved_tensors
        arrays: Arrays = dict(zip(ctx.names, saved, strict=False))
        of_norm = saved[len(arrays) :]
        cell, layer, norm = ctx.cell, ctx.layer, ctx.norm
        T, B, H = arrays["output"].shape
        names = _D_EVERY_STEP if layer.every_step else _D_RESULTS
        given: Arrays = {name: part for name, part in zip(names, d_results, strict=False) if part is not None}
        found, added = _empty_gradients(cell, arrays)
        weight = transition(weight_x, right_x)
        of_inputs = Gradients(x, weight, gain_x, _blocks(cell, H), of_norm, ctx.needs_input_grad[3:6])
        for begin, end in pieces(T, B):
            part = _steps(arrays | given, begin, end) | found
            of_inputs.add(_run_backward(cell, layer, norm, part, added, begin), begin, end)
            given |= {f"d_last_{state}": found[f"d_{state}0"] for state in "hc" if f"d_{state}0" in found}
        for name in _GAINS:
            if name in arrays:
                found[f"d_{name}"] = found[f"d_{name}"].sum(0)
        gradients = ((found | added).get(f"d_{name}") for name in _GIVEN)
        return None, None, None, of_inputs.x, of_inputs.weight, of_inputs.right, of_inputs.gain, *gradients


def _run_backward(cell: str, layer: Layer, norm: BatchNorm | None, part: Arrays, added: Arrays, begin: int) -> Tensor:
    """The backward pass of the steps from `begin` on, whose arrays `part` has; adds to the gradients `added`.

    Gives that of the products with the input.
    """
    T, B, H = part["output"].shape
    d_inputs = part["d_inputs"] = torch.empty_like(part["inputs"])
    part["d_products"] = torch.empty_like(d_inputs) if "gain" in part or cell == "gru" else d_inputs
    part |= {f"d_{name}": torch.empty_like(part[name]) for name in ("narrow", "narrow_reset") if name in part}
    biases = () if "scales" in part else ("d_bias_x", "d_bias_h")
    of_library = [name for name in ("d_diagonal", *biases) if name in added]
    part |= {name: torch.empty_like(added[name]) for name in of_library}
    call = native.describe(layer, T, B, H, norm.sets if norm else (), saves=True, first_step=begin)
    native.run(f"{cell}_backward", call, part)
    add_weight_gradients(added, layer, part)
    summed = {name: part[name] for name in of_library}
    if "scales" in part and "d_bias_x" in added:
        summed |= bias_gradients(part, reset_after=cell == "gru" and layer.variant == "after")
    for name, gradient in summed.items():
        added[name] += gradient
    return d_inputs


def _empty_gradients(cell: str, arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Arrays for the gradients of initial states and parameters: those of the library, and those added up here.

    The library gives those of gains by blocks of rows, to be summed over the first axis, and adds to what is there.
    """
    found = {"d_h0": torch.empty_like(arrays["h0"])}
    if cell == "lstm":
        found["d_c0"] = torch.empty_like(arrays["c0"])
    row_blocks = -(-len(arrays["h0"]) // ROW_BLOCK) if "scales" in arrays else 1
    for name in _GAINS:
        if name in arrays:
            found[f"d_{name}"] = arrays[name].new_zeros(row_blocks, *arrays[name].shape)
    parameters = ("weight", "right", "diagonal", "bias_x", "bias_h")
    return found, {f"d_{name}": torch.zeros_like(arrays[name]) for name in parameters if name in arrays}


def _steps(arrays: Arrays, begin: int, end: int) -> Arrays:
    """The arrays as a call for the steps [begin, end) has them: the step before ends with its initial states."""
    part = {name: (array[begin:end] if name in _EVERY_STEP else array).contiguous() for name, array in arrays.items()}
    if begin > 0:
        part["h0"] = arrays["output"][begin - 1]
        if "c0" in arrays:
            part["c0"] = arrays["cells"][begin - 1]
    return part
