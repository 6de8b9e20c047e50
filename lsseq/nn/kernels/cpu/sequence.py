"""Recurrences over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.layer import Kernel, Layer, States
from lsseq.nn.kernels.once import once_differentiable
from lsseq.nn.parts.products import affine

Arrays = dict[str, Tensor]
"""Tensors by the field of `native.Call` that points to them; absent ones are not there."""

_GIVEN = ("inputs", "h0", "c0", "weight", "bias_x", "bias_h", "gain", "cell_gain", "cell_bias")
_D_RESULTS, _D_EVERY_STEP = ("d_output", "d_last_h", "d_last_c"), ("d_output", "d_cells")
_ROW_BLOCK = 4
"""Rows whose gains' gradients the library adds up (src/call.h)."""


def kernel(recurrence: str) -> Kernel:
    """The kernel of a recurrence: LSTM, GRU or RNN."""

    def run(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
        weights, gains = layer.weights, layer.gains
        H = weights.hidden.shape[1]
        groups = {"LSTM": [4 * H], "GRU": [2 * H, H], "RNN": [H]}[recurrence]
        inputs = affine(x, weights.input, None, gains.input if gains else None, groups)
        h0, c0 = (*(state.to(inputs.dtype) for state in states), None)[:2]
        norm = (gains.hidden, gains.cell, gains.cell_bias) if gains else (None, None, None)
        given = (inputs, h0, c0, weights.hidden, weights.input_bias, weights.hidden_bias, *norm)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
            results = _Sequence.apply(recurrence.lower(), layer, *given)  # type: ignore[no-untyped-call]
        else:
            results = _results(_run_forward(recurrence.lower(), layer, given, saves=layer.every_step), layer)
        return results[0], results if layer.every_step else results[1:]

    return run


def _run_forward(cell: str, layer: Layer, given: Sequence[Tensor | None], *, saves: bool) -> Arrays:
    """The forward pass: what was given and what came out, with all that the backward pass needs if it `saves`."""
    arrays: Arrays = {name: part.contiguous() for name, part in zip(_GIVEN, given, strict=True) if part is not None}
    inputs, (columns, H) = arrays["inputs"], arrays["weight"].shape
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
        if normed:
            for name in ("gain", "cell_gain", "cell_bias"):
                if name in arrays:
                    found[f"d_{name}"] = weight.new_zeros(-(-B // _ROW_BLOCK), *arrays[name].shape)
        elif "bias_x" in arrays:
            found["d_bias_x"], found["d_bias_h"] = (torch.empty_like(arrays["bias_x"]) for _ in range(2))
        native.run(f"{cell}_backward", native.describe(layer, T, B, H, saves=True), arrays | given | found)
        if normed:
            _finish_norm(found, inputs, reset_after=cell == "gru" and layer.variant == "after")
        found["d_weight"] = _weight_gradient(found["d_products"], arrays, reset_before=layer.variant == "before")
        gradients = (found.get(f"d_{name}") if name in arrays else None for name in _GIVEN)
        return None, None, *gradients


def _finish_norm(found: Arrays, gates: Tensor, *, reset_after: bool) -> None:
    """With layer norm: sums up the gradients of the gains, which the library gives by blocks of rows, and of biases."""
    for name in ("d_gain", "d_cell_gain", "d_cell_bias"):
        if name in found:
            found[name] = found[name].sum(0)
    found["d_bias_x"] = found["d_bias_h"] = found["d_inputs"].sum((0, 1))
    if reset_after:
        # The candidate's second bias is multiplied by the reset gate.
        H = gates.shape[-1] // 3
        inner = (found["d_inputs"][..., 2 * H :] * gates[..., :H]).sum((0, 1))
        found["d_bias_h"] = torch.cat([found["d_bias_x"][: 2 * H], inner])


def _weight_gradient(d_products: Tensor, arrays: Arrays, *, reset_before: bool) -> Tensor:
    """(G·H, H): the gradient of the weight from that of the products (T, B, G·H)."""
    h0, earlier = arrays["h0"], arrays["output"][:-1]
    if not reset_before:
        return _outer(d_products, h0, earlier)
    # The candidate's products are of the state that was reset.
    H = h0.shape[1]
    reset = arrays["inputs"][..., :H]
    d_gates = _outer(d_products[..., : 2 * H], h0, earlier)
    d_candidate = _outer(d_products[..., 2 * H :], reset[0] * h0, reset[1:] * earlier)
    return torch.cat([d_gates, d_candidate])


def _outer(d: Tensor, first: Tensor, rest: Tensor) -> Tensor:
    """Σ over steps and rows of d (T, B, K) ⊗ what it was multiplied with: first (B, H), then rest (T - 1, B, H)."""
    product = d[0].t() @ first
    return product.addmm_(d[1:].flatten(0, 1).t(), rest.flatten(0, 1)) if len(rest) else product
