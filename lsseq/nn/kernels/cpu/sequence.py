"""Recurrences over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.inputs import Gradients, products
from lsseq.nn.kernels.layer import Kernel, Layer, States
from lsseq.nn.kernels.once import once_differentiable

Arrays = dict[str, Tensor]
"""Tensors by the field of `native.Call` that points to them; absent ones are not there."""

_GIVEN = ("h0", "c0", "weight", "bias_x", "bias_h", "gain", "cell_gain", "cell_bias")
_D_RESULTS, _D_EVERY_STEP = ("d_output", "d_last_h", "d_last_c"), ("d_output", "d_cells")
_EVERY_STEP = ("inputs", "output", "cells", "candidate", "normal", "scales", "d_output", "d_cells")
_PIECE = 1024
"""Rows times steps that the backward pass does at a time, at most but for one step of many rows."""
_ROW_BLOCK = 4
"""Rows whose gains' gradients the library adds up (src/call.h)."""


def kernel(recurrence: str) -> Kernel:
    """The kernel of a recurrence: LSTM, GRU or RNN."""

    def run(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
        weights, gains = layer.weights, layer.gains
        h0, c0 = (*(state.to(x.dtype) for state in states), None)[:2]
        norm = (gains.hidden, gains.cell, gains.cell_bias) if gains else (None, None, None)
        given = (x, weights.input, gains.input if gains else None)
        given += (h0, c0, weights.hidden, weights.input_bias, weights.hidden_bias, *norm)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
            results = _Sequence.apply(recurrence.lower(), layer, *given)  # type: ignore[no-untyped-call]
        else:
            arrays, _ = _run_forward(recurrence.lower(), layer, given, saves=layer.every_step)
            results = _results(arrays, layer)
        return results[0], results if layer.every_step else results[1:]

    return run


def _blocks(cell: str, H: int) -> list[int]:
    """Columns of the products with the input that are normalised together."""
    return {"lstm": [4 * H], "gru": [2 * H, H], "rnn": [H]}[cell]


def _run_forward(
    cell: str, layer: Layer, given: Sequence[Tensor | None], *, saves: bool
) -> tuple[Arrays, list[Tensor]]:
    """The forward pass: what was given and what came out, with all that the backward pass needs if it `saves`.

    Beside it what `products` gives to keep.
    """
    x, weight, gain, *others = given
    assert x is not None
    assert weight is not None
    arrays: Arrays = {name: part.contiguous() for name, part in zip(_GIVEN, others, strict=True) if part is not None}
    columns, H = arrays["weight"].shape
    sums, of_norm = products(x, weight, gain, _blocks(cell, H))
    inputs = arrays["inputs"] = sums.contiguous()
    T, B, _ = inputs.shape
    kept = T if saves else 1
    arrays["output"] = inputs.new_empty(T, B, H)
    if cell == "lstm":
        arrays["cells"] = inputs.new_empty(kept, B, H)
    if cell == "gru" and layer.variant == "after" and saves:
        arrays["candidate"] = inputs.new_empty(T, B, H)
    if "gain" in arrays:
        padded = native.padded_units(H, inputs.dtype) * (columns // H)
        arrays["normal"] = inputs.new_empty(kept, B, padded)
        arrays["scales"] = inputs.new_empty(kept, B, 3)
    native.run(f"{cell}_forward", native.describe(layer, T, B, H, saves=saves), arrays)
    return arrays, of_norm


def _results(arrays: Arrays, layer: Layer) -> tuple[Tensor, ...]:
    """The output, then the last states; or the states of every step, of which the output is the first."""
    states = tuple(arrays[name] for name in ("output", "cells") if name in arrays)
    return states if layer.every_step else (states[0], *(state[-1].clone() for state in states))


class _Sequence(torch.autograd.Function):
    """(x (T, B, I), weight (G·H, I) and gain of its products, initial states, parameters) -> `_results`.

    The backward pass goes over the sequence from its end, some steps at a time, so that it holds the gradients of the
    gates for these only, and reads them again while they are in the cache.
    """

    @staticmethod
    def forward(ctx: Any, cell: str, layer: Layer, *given: Tensor | None) -> tuple[Tensor, ...]:
        arrays, of_norm = _run_forward(cell, layer, given, saves=True)
        ctx.set_materialize_grads(False)
        ctx.cell, ctx.layer, ctx.names = cell, layer, tuple(arrays)
        ctx.save_for_backward(*given[:3], *arrays.values(), *of_norm)
        return _results(arrays, layer)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight_x, gain_x, *saved = ctx.saved_tensors
        arrays: Arrays = dict(zip(ctx.names, saved, strict=False))
        of_norm = saved[len(arrays) :]
        cell, layer = ctx.cell, ctx.layer
        T, B, H = arrays["output"].shape
        names = _D_EVERY_STEP if layer.every_step else _D_RESULTS
        given: Arrays = {name: part for name, part in zip(names, d_results, strict=False) if part is not None}
        found, added = _empty_gradients(cell, arrays)
        of_inputs = Gradients(x, weight_x, gain_x, _blocks(cell, H), of_norm, ctx.needs_input_grad[2:4])
        length = -(-T // max(1, -(-T * B // _PIECE)))
        for end in range(T, 0, -length):
            begin = max(0, end - length)
            part = _steps(arrays | given, begin, end) | found
            of_inputs.add(_run_backward(cell, layer, part, added, begin), begin, end)
            given |= {f"d_last_{state}": found[f"d_{state}0"] for state in "hc" if f"d_{state}0" in found}
        for name in ("d_gain", "d_cell_gain", "d_cell_bias"):
            if name in found:
                found[name] = found[name].sum(0)
        gradients = ((found | added).get(f"d_{name}") for name in _GIVEN)
        return None, None, of_inputs.x, of_inputs.weight, of_inputs.gain, *gradients


def _run_backward(cell: str, layer: Layer, part: Arrays, added: Arrays, begin: int) -> Tensor:
    """The backward pass of the steps from `begin` on, whose arrays `part` has; adds to the gradients `added`.

    Gives that of the products with the input.
    """
    T, B, H = part["output"].shape
    d_inputs = part["d_inputs"] = torch.empty_like(part["inputs"])
    part["d_products"] = torch.empty_like(d_inputs) if "gain" in part or cell == "gru" else d_inputs
    biases = [name for name in ("d_bias_x", "d_bias_h") if name in added]
    if "gain" not in part:
        part |= {name: torch.empty_like(added[name]) for name in biases}
    native.run(f"{cell}_backward", native.describe(layer, T, B, H, saves=True, first_step=begin), part)
    _add_weight_gradient(added["d_weight"], part, reset_before=layer.variant == "before")
    if "gain" in part:
        part |= _bias_gradients(part, reset_after=cell == "gru" and layer.variant == "after")
    for name in biases:
        added[name] += part[name]
    return d_inputs


def _empty_gradients(cell: str, arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Arrays for the gradients of initial states and parameters: those of the library, and those added up here.

    The library gives those of gains by blocks of rows, to be summed over the first axis, and adds to what is there.
    """
    found = {"d_h0": torch.empty_like(arrays["h0"])}
    added = {"d_weight": torch.zeros_like(arrays["weight"])}
    if cell == "lstm":
        found["d_c0"] = torch.empty_like(arrays["c0"])
    if "bias_x" in arrays:
        added["d_bias_x"], added["d_bias_h"] = (torch.zeros_like(arrays["bias_x"]) for _ in range(2))
    for name in ("gain", "cell_gain", "cell_bias"):
        if name in arrays:
            row_blocks = -(-len(arrays["h0"]) // _ROW_BLOCK)
            found[f"d_{name}"] = arrays[name].new_zeros(row_blocks, *arrays[name].shape)
    return found, added


def _steps(arrays: Arrays, begin: int, end: int) -> Arrays:
    """The arrays as a call for the steps [begin, end) has them: the step before ends with its initial states."""
    part = {name: (array[begin:end] if name in _EVERY_STEP else array).contiguous() for name, array in arrays.items()}
    if begin > 0:
        part["h0"] = arrays["output"][begin - 1]
        if "c0" in arrays:
            part["c0"] = arrays["cells"][begin - 1]
    return part


def _bias_gradients(part: Arrays, *, reset_after: bool) -> Arrays:
    """Those of the biases with layer norm, where the library does not give them."""
    d_inputs, gates = part["d_inputs"], part["inputs"]
    d_bias_x = d_bias_h = d_inputs.sum((0, 1))
    if reset_after:
        # The candidate's second bias is multiplied by the reset gate.
        H = gates.shape[-1] // 3
        inner = (d_inputs[..., 2 * H :] * gates[..., :H]).sum((0, 1))
        d_bias_h = torch.cat([d_bias_x[: 2 * H], inner])
    return {"d_bias_x": d_bias_x, "d_bias_h": d_bias_h}


def _add_weight_gradient(d_weight: Tensor, arrays: Arrays, *, reset_before: bool) -> None:
    """Adds to the weight's gradient (G·H, H) what comes from that of the products (T, B, G·H)."""
    d_products, h0, earlier = arrays["d_products"], arrays["h0"], arrays["output"][:-1]
    if not reset_before:
        _add_outer(d_weight, d_products, h0, earlier)
        return
    # The candidate's products are of the state that was reset.
    H = h0.shape[1]
    reset = arrays["inputs"][..., :H]
    _add_outer(d_weight[: 2 * H], d_products[..., : 2 * H], h0, earlier)
    _add_outer(d_weight[2 * H :], d_products[..., 2 * H :], reset[0] * h0, reset[1:] * earlier)


def _add_outer(to: Tensor, d: Tensor, first: Tensor, rest: Tensor) -> None:
    """Adds, over steps and rows, d (T, B, K) ⊗ what it was multiplied with: first (B, H), then rest (T - 1, B, H)."""
    to.addmm_(d[0].t(), first)
    if len(rest):
        to.addmm_(d[1:].flatten(0, 1).t(), rest.flatten(0, 1))
