"""Recurrences over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.gradients import Arrays, finish_norm, weight_gradients
from lsseq.nn.kernels.layer import Kernel, Layer, States
from lsseq.nn.kernels.once import once_differentiable
from lsseq.nn.parts.products import affine
from lsseq.nn.parts.transition import LowRank

_GIVEN = (
    *("inputs", "h0", "c0", "weight", "right", "diagonal"),
    *("bias_x", "bias_h", "gain", "cell_gain", "cell_bias"),
)
_D_RESULTS, _D_EVERY_STEP = ("d_output", "d_last_h", "d_last_c"), ("d_output", "d_cells")
_ROW_BLOCK = 4
"""Rows whose gains' gradients the library adds up (src/call.h)."""


def kernel(recurrence: str) -> Kernel:
    """The kernel of a recurrence: LSTM, GRU or RNN."""

    def run(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
        weights, gains = layer.weights, layer.gains
        H = weights.hidden.size
        groups = {"LSTM": [4 * H], "GRU": [2 * H, H], "RNN": [H]}[recurrence]
        inputs = affine(x, weights.input, None, gains.input if gains else None, groups)
        h0, c0 = (*(state.to(inputs.dtype) for state in states), None)[:2]
        norm = (gains.hidden, gains.cell, gains.cell_bias) if gains else (None, None, None)
        given = (inputs, h0, c0, *weights.hidden.tensors, weights.input_bias, weights.hidden_bias, *norm)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
            results = _Sequence.apply(recurrence.lower(), layer, *given)  # type: ignore[no-untyped-call]
        else:
            results = _results(_run_forward(recurrence.lower(), layer, given, saves=layer.every_step), layer)
        return results[0], results if layer.every_step else results[1:]

    return run


def _run_forward(cell: str, layer: Layer, given: Sequence[Tensor | None], *, saves: bool) -> Arrays:
    """The forward pass: what was given and what came out, with all that the backward pass needs if it `saves`."""
    arrays: Arrays = {name: part.contiguous() for name, part in zip(_GIVEN, given, strict=True) if part is not None}
    inputs, H, hidden = arrays["inputs"], arrays["h0"].shape[1], layer.weights.hidden
    T, B, columns = inputs.shape
    kept = T if saves else 1
    arrays["output"] = inputs.new_empty(T, B, H)
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
    if "gain" in arrays:
        padded = native.padded_units(H, inputs.dtype) * (columns // H)
        arrays["normal"] = inputs.new_empty(kept, B, padded)
        arrays["scales"] = inputs.new_empty(kept, B, 3)
    native.run(f"{cell}_forward", native.describe(layer, T, B, H, saves=saves), arrays)
    return arrays


def _results(arrays: Arrays, layer: Layer) -> tuple[Tensor, ...]:
    """The output, then the last states; or the states of every step, of which the output is the first."""
    states = tuple(arrays[name] for name in ("output", "cells") if name in arrays)
    return states if layer.every_step else (states[0], *(state[-1].clone() for state in states))


class _Sequence(torch.autograd.Function):
    """(products with the input (T, B, G·H), initial states, parameters) -> `_results`.

    The products with the input are given up: the library writes the gates over them.
    """

    @staticmethod
    def forward(ctx: Any, cell: str, layer: Layer, *given: Tensor | None) -> tuple[Tensor, ...]:
        arrays = _run_forward(cell, layer, given, saves=True)
        ctx.set_materialize_grads(False)
        ctx.cell, ctx.layer, ctx.names = cell, layer, tuple(arrays)
        ctx.save_for_backward(*arrays.values())
        return _results(arrays, layer)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        arrays: Arrays = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        inputs, h0, weight = arrays["inputs"], arrays["h0"], arrays["weight"]
        cell, layer, normed = ctx.cell, ctx.layer, "gain" in arrays
        T, B, H = arrays["output"].shape
        given: Arrays = {
            name: part.contiguous()
            for name, part in zip(_D_EVERY_STEP if layer.every_step else _D_RESULTS, d_results, strict=False)
            if part is not None
        }
        found: Arrays = {"d_inputs": torch.empty_like(inputs), "d_h0": torch.empty_like(h0)}
        found["d_products"] = torch.empty_like(inputs) if normed or cell == "gru" else found["d_inputs"]
        if cell == "lstm":
            found["d_c0"] = torch.empty_like(h0)
        for name in ("narrow", "narrow_reset", "diagonal"):
            if name in arrays:
                found[f"d_{name}"] = torch.empty_like(arrays[name])
        if normed:
            for name in ("gain", "cell_gain", "cell_bias"):
                if name in arrays:
                    found[f"d_{name}"] = weight.new_zeros(-(-B // _ROW_BLOCK), *arrays[name].shape)
        elif "bias_x" in arrays:
            found["d_bias_x"], found["d_bias_h"] = (torch.empty_like(arrays["bias_x"]) for _ in range(2))
        native.run(f"{cell}_backward", native.describe(layer, T, B, H, saves=True), arrays | given | found)
        if normed:
            finish_norm(found, inputs, reset_after=cell == "gru" and layer.variant == "after")
        found |= weight_gradients(layer, arrays, found)
        gradients = (found.get(f"d_{name}") if name in arrays else None for name in _GIVEN)
        return None, None, *gradients
