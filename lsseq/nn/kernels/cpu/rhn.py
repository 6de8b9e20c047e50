"""The recurrent highway network over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, I input, H hidden, K micro-layers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from lsseq.nn.cells.rhn import Highways
from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.gradients import Arrays, add_factor_gradients, add_outer
from lsseq.nn.kernels.cpu.inputs import Gradients, products
from lsseq.nn.kernels.cpu.sequence import ROW_BLOCK, SCALES, pieces
from lsseq.nn.kernels.layer import Layer, Weights
from lsseq.nn.kernels.once import once_differentiable
from lsseq.nn.parts.transition import Dense, LowRank, Transition

_PARAMETERS = ("weight", "right", "diagonal", "bias_h", "gain")
"""Of each micro-layer that has its own."""
_EVERY_STEP = ("inputs", "states", "reads", "narrow", "normal", "scales", "output", "d_output")


class _MicroCall(ctypes.Structure):
    """`MicroCall` of src/rhn.h."""

    _fields_ = (("call", native.Call), ("states", c_void_p), ("reads", c_void_p))


class _Call(ctypes.Structure):
    """`RhnCall` of src/rhn.h."""

    _fields_ = (
        ("depth", c_int64),
        ("tied", c_int32),
        ("layers", ctypes.POINTER(_MicroCall)),
        *((name, c_void_p) for name in ("h0", "seen", "output", "d_output", "d_last_h", "d_h0")),
    )


def kernel(x: Tensor, h: Tensor, network: Highways) -> tuple[Tensor, Tensor]:
    """The kernel of the recurrent highway network (`lsseq.nn.kernels.rhn.RHNKernel`).

    Raises:
        ValueError: input and parameters differ in their dtype.
    """
    mask = network.seen(x, h.shape[1])
    seen = mask if isinstance(mask, Tensor) else None if mask == 1.0 else x.new_zeros(h.shape)
    parameters = [part for layer in network.own for part in (*layer.hidden.tensors, layer.bias, layer.gain)]
    given = (x, network.input.weight, network.input_gain, h.to(x.dtype), seen, *parameters)
    native.require_one_dtype(given)
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
        output, last = _Sequence.apply(network, *given)  # type: ignore[no-untyped-call]
        return output, last
    return _results(_run_forward(network, given, saves=False)[0])


def _run_forward(network: Highways, given: Sequence[Tensor | None], *, saves: bool) -> tuple[Arrays, list[Tensor]]:
    """The forward pass: what was given and what came out, with all that the backward pass needs if it `saves`.

    Arrays of micro-layer K are named K.NAME. Beside them what `products` gives to keep.
    """
    x, weight, gain, *others = given
    assert x is not None
    assert weight is not None
    names = ["h0", "seen", *(f"{k}.{name}" for k in range(len(network.own)) for name in _PARAMETERS)]
    arrays: Arrays = {name: part.contiguous() for name, part in zip(names, others, strict=True) if part is not None}
    (T, B, _), H = x.shape, arrays["h0"].shape[1]
    sums, of_norm = products(x, Dense(weight), gain, [2 * H])
    arrays["0.inputs"] = sums.contiguous()
    arrays["output"] = x.new_empty(T, B, H)
    kept, turns = (T, T) if saves else (1, 2)
    for k in range(network.depth):
        hidden = network.layer(k).hidden
        if k > 0:
            arrays[f"{k}.states"] = x.new_empty(turns, B, H)
            if saves:
                arrays[f"{k}.inputs"] = x.new_empty(T, B, 2 * H)
        if "seen" in arrays:
            arrays[f"{k}.reads"] = x.new_empty(turns, B, H)
        if isinstance(hidden, LowRank):
            arrays[f"{k}.narrow"] = x.new_empty(kept, B, len(hidden.right))
        if network.layer(k).gain is not None:
            arrays[f"{k}.normal"] = x.new_empty(kept, B, 2 * native.padded_units(H, x.dtype))
            arrays[f"{k}.scales"] = x.new_empty(kept, B, SCALES)
    _run("rhn_forward", network, arrays, saves=saves)
    return arrays, of_norm


def _results(arrays: Arrays) -> tuple[Tensor, Tensor]:
    """The output and the last state."""
    return arrays["output"], arrays["output"][-1].clone()


class _Sequence(torch.autograd.Function):
    """(x (T, B, I), weight (2H, I) and gain of its products, initial state (B, H), m (B, H), `_PARAMETERS` of each
    micro-layer) -> `_results`; its backward pass goes by pieces, as that of the other recurrences."""

    @staticmethod
    def forward(ctx: Any, network: Highways, *given: Tensor | None) -> tuple[Tensor, Tensor]:
        arrays, of_norm = _run_forward(network, given, saves=True)
        ctx.set_materialize_grads(False)
        ctx.network, ctx.names = network, tuple(arrays)
        ctx.save_for_backward(*given[:3], *arrays.values(), *of_norm)
        return _results(arrays)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        x, weight, gain, *saved = ctx.saved_tensors
        arrays: Arrays = dict(zip(ctx.names, saved, strict=False))
        of_norm, network = saved[len(arrays) :], ctx.network
        (T, B, _), H = x.shape, arrays["h0"].shape[1]
        names = ("d_output", "d_last_h")
        given = {name: part.contiguous() for name, part in zip(names, d_results, strict=True) if part is not None}
        d_h0 = given["d_h0"] = torch.empty_like(arrays["h0"])
        added = _empty_gradients(network, arrays)
        of_inputs = Gradients(x, Dense(weight), gain, [2 * H], of_norm, (*ctx.needs_input_grad[1:3], False))
        for begin, end in pieces(T, B):
            part = {
                name: array[begin:end] if name.rpartition(".")[2] in _EVERY_STEP else array
                for name, array in (arrays | given).items()
            }
            if begin > 0:
                part["h0"] = arrays["output"][begin - 1]
            of_inputs.add(_run_backward(network, part, added, begin), begin, end)
            given["d_last_h"] = d_h0
        gradients = [added.get(f"{k}.d_{name}") for k in range(len(network.own)) for name in _PARAMETERS]
        return None, of_inputs.x, of_inputs.weight, of_inputs.gain, d_h0, None, *gradients


def _empty_gradients(network: Highways, arrays: Arrays) -> Arrays:
    """Arrays for the gradients of the parameters of micro-layers, which are added up."""
    names = [f"{k}.{name}" for k in range(len(network.own)) for name in _PARAMETERS]
    return {name.replace(".", ".d_"): torch.zeros_like(arrays[name]) for name in names if name in arrays}


def _run_backward(network: Highways, part: Arrays, added: Arrays, begin: int) -> Tensor:
    """The backward pass of the steps from `begin` on, whose arrays `part` has; adds to the gradients `added`.

    Gives that of the products with the input.
    """
    for k in range(network.depth):
        d_inputs = part[f"{k}.d_inputs"] = torch.empty_like(part[f"{k}.inputs"])
        part[f"{k}.d_products"] = d_inputs if network.layer(k).gain is None else torch.empty_like(d_inputs)
        if f"{k}.narrow" in part:
            part[f"{k}.d_narrow"] = torch.empty_like(part[f"{k}.narrow"])
        read = _reads(part, k)
        part[f"{k}.h0"], part[f"{k}.output"] = read[0][0], read[-1] if len(read) > 1 else read[0][1:]
    for k, layer in enumerate(network.own):
        if layer.gain is None:
            part[f"{k}.d_bias_h"] = torch.empty_like(layer.bias)
        else:
            row_blocks = -(-len(part["h0"]) // ROW_BLOCK)
            d_gain = layer.gain.new_zeros(row_blocks, len(layer.gain))
            part |= {f"{turn}.d_gain": d_gain for turn in _turns(network, k)}
        if f"{k}.diagonal" in part:
            part[f"{k}.d_diagonal"] = torch.empty_like(part[f"{k}.diagonal"])
    _run("rhn_backward", network, part, saves=True, first_step=begin)
    for k, layer in enumerate(network.own):
        turns = _turns(network, k)
        for turn in turns:
            _add_weight_gradients(layer.hidden, part, turn, added, k)
        if layer.gain is None:
            added[f"{k}.d_bias_h"] += part[f"{k}.d_bias_h"]
        else:
            added[f"{k}.d_gain"] += part[f"{k}.d_gain"].sum(0)
            for turn in turns:
                added[f"{k}.d_bias_h"] += part[f"{turn}.d_inputs"].sum((0, 1))
        if f"{k}.diagonal" in part:
            added[f"{k}.d_diagonal"] += part[f"{k}.d_diagonal"]
    return part["0.d_inputs"]


def _turns(network: Highways, k: int) -> Sequence[int]:
    """The micro-layers that have the parameters of micro-layer k."""
    return range(network.depth) if network.tied else (k,)


def _add_weight_gradients(hidden: Transition, part: Arrays, k: int, added: Arrays, to: int) -> None:
    """Adds to the gradient of the weight `to`, or to those of its factors, from the products of micro-layer k."""
    d, states = part[f"{k}.d_products"], _reads(part, k)
    if isinstance(hidden, LowRank):
        d_factors = added[f"{to}.d_weight"], added[f"{to}.d_right"]
        add_factor_gradients(*d_factors, d, part[f"{k}.narrow"], part[f"{k}.d_narrow"], *states)
    else:
        add_outer(added[f"{to}.d_weight"], d, *states)


def _reads(part: Arrays, k: int) -> tuple[Tensor, ...]:
    """What the products of micro-layer k read at all steps, (·, B, H) each, in one piece or the first step apart."""
    for name in ("reads", "states"):
        if f"{k}.{name}" in part:
            return (part[f"{k}.{name}"],)
    return part["h0"].unsqueeze(0), part["output"][:-1]


def _run(name: str, network: Highways, arrays: Arrays, *, saves: bool, first_step: int = 0) -> None:
    """Run a function of the library on these arrays."""
    T, B, H = arrays["output"].shape
    layers = (_MicroCall * network.depth)()
    for k, micro in enumerate(layers):
        layer = Layer(
            Weights(network.input, network.layer(k).hidden),
            network.layer_draws(k),
            zoneout_hidden=network.zoneout_hidden,
            recurrent_dropout=network.recurrent_dropout,
        )
        micro.call = native.describe(layer, T, B, H, saves=saves, first_step=first_step)
    call = _Call(depth=network.depth, tied=network.tied, layers=layers)
    for field, tensor in arrays.items():
        number, _, of_layer = field.rpartition(".")
        if not number:
            setattr(call, field, tensor.data_ptr())
            continue
        micro = layers[int(number)]
        setattr(micro if of_layer in ("states", "reads") else micro.call, of_layer, tensor.data_ptr())
    native.call_function(name, arrays["h0"].dtype, call)
