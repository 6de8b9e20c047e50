"""Recurrences over a whole sequence, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.kernels.cuda import gru, lstm, rnn
from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import computed_in
from lsseq.nn.kernels.cuda.masks import Masks
from lsseq.nn.kernels.layer import Kernel, Layer, States
from lsseq.nn.kernels.once import once_differentiable
from lsseq.nn.parts.products import affine

_LOOPS = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
_GIVEN = ("sums", "h0", "c0", "weight", "bias", "gain", "cell_gain", "cell_bias")


def kernel(recurrence: str) -> Kernel:
    """The kernel of a recurrence: LSTM, GRU or RNN."""

    def run(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
        weights, gains = layer.weights, layer.gains
        H = weights.hidden.size
        groups = {"LSTM": [4 * H], "GRU": [2 * H, H], "RNN": [H]}[recurrence]
        # What a reset gate multiplies has a bias of its own; any other bias is added for all steps at once.
        apart = layer.variant == "after"
        bias = weights.input_bias if apart else weights.bias
        sums = affine(x, weights.input, bias, gains.input if gains else None, groups)
        h0, c0 = (*(state.to(sums.dtype) for state in states), None)[:2]
        norm = (gains.hidden, gains.cell, gains.cell_bias) if gains else (None, None, None)
        given = (sums, h0, c0, weights.hidden.compose(), weights.hidden_bias if apart else None, *norm)
        if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
            results = _Sequence.apply(recurrence, layer, *given)  # type: ignore[no-untyped-call]
        else:
            results = _results(_run_forward(recurrence, layer, given, saves=layer.every_step), layer)
        return results[0], results if layer.every_step else results[1:]

    return run


def _run_forward(recurrence: str, layer: Layer, given: Sequence[Tensor | None], *, saves: bool) -> Call:
    """The forward pass: what was given and what came out, with all that the backward pass needs if it `saves`."""
    arrays: Arrays = {name: part.contiguous() for name, part in zip(_GIVEN, given, strict=True) if part is not None}
    sums, h0, c0 = arrays["sums"], arrays.pop("h0"), arrays.pop("c0", None)
    computed = computed_in(sums.dtype)
    arrays["states"] = sums.new_empty(len(sums) + 1, *h0.shape)
    arrays["states"][0] = h0
    if c0 is not None:
        arrays["cells"] = sums.new_empty(len(sums) + 1 if saves else 1, *c0.shape, dtype=computed)
        arrays["cells"][0] = c0
    rates = (layer.zoneout_cell, layer.zoneout_hidden, layer.recurrent_dropout)
    call = Call(arrays, Masks.of(layer.draws, rates, sums.device, computed), layer.variant, saves)
    with _alone(sums):
        _LOOPS[recurrence].forward(call)
    return call


@contextmanager
def _alone(tensor: Tensor) -> Iterator[None]:
    """On the tensor's device, in the types that tensors have: autocast has had the products with the input."""
    with torch.cuda.device_of(tensor), torch.autocast(tensor.device.type, enabled=False):  # type: ignore[no-untyped-call]
        yield


def _results(call: Call, layer: Layer) -> tuple[Tensor, ...]:
    """The output, then the last states; or the states of every step, of which the output is the first."""
    dtype = call.arrays["sums"].dtype
    states = [call.arrays[name] for name in ("states", "cells") if name in call.arrays]
    if layer.every_step:
        return tuple(state[1:].to(dtype) for state in states)
    return states[0][1:], *(state[-1].to(dtype, copy=True) for state in states)


class _Sequence(torch.autograd.Function):
    """(products with the input (T, B, G·H), initial states, parameters) -> `_results`.

    The products with the input are given up: the gates are written over them.
    """

    @staticmethod
    def forward(ctx: Any, recurrence: str, layer: Layer, *given: Tensor | None) -> tuple[Tensor, ...]:
        call = _run_forward(recurrence, layer, given, saves=True)
        ctx.set_materialize_grads(False)
        ctx.recurrence, ctx.layer, ctx.masks, ctx.names = recurrence, layer, call.masks, tuple(call.arrays)
        ctx.save_for_backward(*call.arrays.values())
        return _results(call, layer)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        layer: Layer = ctx.layer
        call = Call(dict(zip(ctx.names, ctx.saved_tensors, strict=True)), ctx.masks, layer.variant, saves=True)
        a, computed = call.arrays, call.masks.rates.dtype
        names = ("outputs", "cells") if layer.every_step else ("outputs", "last_h", "last_c")
        come = {name: d for name, d in zip(names, d_results, strict=False) if d is not None}
        state = a["states"][0]
        d = Gradients(
            outputs=come["outputs"].contiguous() if "outputs" in come else torch.zeros_like(a["states"][1:]),
            cells=come["cells"].contiguous() if "cells" in come else None,
            state=torch.zeros_like(state),
            carry_h=torch.zeros_like(state, dtype=computed),
            carry_c=torch.zeros_like(state, dtype=computed) if "cells" in a else None,
            sums=torch.empty_like(a["sums"]),
        )
        for name, carry in (("last_h", d.carry_h), ("last_c", d.carry_c)):
            if name in come and carry is not None:
                carry.copy_(come[name])
        with _alone(state):
            found = _LOOPS[ctx.recurrence].backward(call, d)
        found |= {"sums": d.sums, "h0": d.carry_h + d.state}
        if d.carry_c is not None:
            found["c0"] = d.carry_c
        return None, None, *(found[name].to(d.sums.dtype) if name in found else None for name in _GIVEN)
