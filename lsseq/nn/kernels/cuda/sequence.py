"""Recurrences over a whole sequence, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, G gates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lsseq.nn.kernels.cuda import gru, lstm, rnn
from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import computed_in
from lsseq.nn.kernels.cuda.masks import Masks
from lsseq.nn.kernels.layer import Kernel, Layer, States
from lsseq.nn.parts.products import affine

_LOOPS = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
_GIVEN = ("sums", "h0", "c0", "weight", "bias", "gain", "cell_gain", "cell_bias")


def kernel(recurrence: str) -> Kernel:
    """The kernel of a recurrence: LSTM, GRU or RNN."""

    def run(x: Tensor, states: States, layer: Layer) -> tuple[Tensor, States]:
        weights, gains = layer.weights, layer.gains
        H = weights.hidden.shape[1]
        groups = {"LSTM": [4 * H], "GRU": [2 * H, H], "RNN": [H]}[recurrence]
        # What a reset gate multiplies has a bias of its own; any other bias is added for all steps at once.
        apart = layer.variant == "after"
        bias = weights.input_bias if apart else weights.bias
        sums = affine(x, weights.input, bias, gains.input if gains else None, groups)
        h0, c0 = (*(state.to(sums.dtype) for state in states), None)[:2]
        norm = (gains.hidden, gains.cell, gains.cell_bias) if gains else (None, None, None)
        given = (sums, h0, c0, weights.hidden, weights.hidden_bias if apart else None, *norm)
        saves = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given)
        output, *last = _Sequence.apply(recurrence, layer, saves, *given)  # type: ignore[no-untyped-call]
        return output, tuple(last)

    return run


class _Sequence(torch.autograd.Function):
    """(products with the input (T, B, G·H), initial states, parameters) -> (output (T, B, H), last states).

    The products with the input are given up: the gates are written over them.
    """

    @staticmethod
    def forward(ctx: Any, recurrence: str, layer: Layer, saves: bool, *given: Tensor | None) -> tuple[Tensor, ...]:
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
        with torch.cuda.device_of(sums):  # type: ignore[no-untyped-call]
            _LOOPS[recurrence].forward(call)
        if saves:
            ctx.recurrence, ctx.masks, ctx.variant, ctx.names = recurrence, call.masks, call.variant, tuple(arrays)
            ctx.save_for_backward(*arrays.values())
        last = [arrays[name][-1].to(sums.dtype, copy=True) for name in ("states", "cells") if name in arrays]
        return arrays["states"][1:], *last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_last_h: Tensor, *d_last_c: Tensor) -> tuple[Tensor | None, ...]:
        call = Call(dict(zip(ctx.names, ctx.saved_tensors, strict=True)), ctx.masks, ctx.variant, saves=True)
        carry_h, *carry_c = (
            d_last.to(call.masks.rates.dtype, copy=True, memory_format=torch.contiguous_format)
            for d_last in (d_last_h, *d_last_c)
        )
        d = Gradients(
            outputs=d_outputs.contiguous(),
            state=torch.zeros_like(d_last_h, memory_format=torch.contiguous_format),
            carry_h=carry_h,
            carry_c=carry_c[0] if carry_c else None,
            sums=torch.empty_like(call.arrays["sums"]),
        )
        with torch.cuda.device_of(d_outputs):  # type: ignore[no-untyped-call]
            found = _LOOPS[ctx.recurrence].backward(call, d)
        found |= {"sums": d.sums, "h0": d.carry_h + d.state}
        if d.carry_c is not None:
            found["c0"] = d.carry_c
        dtype = d.sums.dtype
        return None, None, None, *(found[name].to(dtype) if name in found else None for name in _GIVEN)
