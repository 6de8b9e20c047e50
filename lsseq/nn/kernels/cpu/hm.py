"""The HM-LSTM over a whole sequence by the compiled library, as a function that autograd knows.

Shape letters: T time, B batch, H hidden, L layers, N events of a layer (src/hm.c).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from lsseq.nn.cells.hmlstm import HMState
from lsseq.nn.kernels.cpu import native
from lsseq.nn.kernels.cpu.gemm import multiply
from lsseq.nn.kernels.hierarchy import Hierarchy, HMOutput
from lsseq.nn.kernels.once import once_differentiable
from lsseq.nn.random import Kind

_KEPT_STEPS = 4
"""Steps whose events are kept in each half of the memory, where no backward pass follows."""

_KINDS = (Kind.ZONEOUT_CELL, Kind.ZONEOUT_HIDDEN)

_GAINS = ("below_gain", "hidden_gain", "above_gain", "cell_gain", "cell_bias")
_GIVEN = ("h0", "c0", "z0", "w_below", "w_hidden", "w_above", "bias", *_GAINS)
"""What is given of each layer; gradients have a `d_` before the name."""

_D_PRODUCTS = ("d_from_below", "d_from_hidden", "d_from_above")

_FOUND = ("boundaries", "probabilities", "detector_sums")
"""What comes out of the detectors, (T, B, L-1) each."""


class _Layer(ctypes.Structure):
    """`HmLayer` of src/hm.c."""

    _fields_ = (
        ("units", c_int64),
        ("below", c_int64),
        *(
            (name, c_void_p)
            for name in (
                *("w_below", "w_hidden", "w_above", "bias", *_GAINS, "h0", "c0", "z0", "output"),
                *("event", "source", "above", "starts", "plain", "h", "c", "gates"),
                *("from_hidden", "for_below", "input", "from_below", "hidden_scale", "for_below_scale", "below_scale"),
                *("d_output", "d_h", "d_c", "d_z", "d_sums", *_D_PRODUCTS, *(f"d_{gain}" for gain in _GAINS)),
                *("d_sum_z", "d_hidden_z", "d_below_z", "d_bias_z"),
            )
        ),
    )


class _Call(ctypes.Structure):
    """`HmCall` of src/hm.c."""

    _fields_ = (
        ("steps", c_int64),
        ("rows", c_int64),
        ("half", c_int64),
        *((name, c_int32) for name in ("layers", "threads")),
        *((name, c_int32) for name in ("product", "holds", "nested", "flushes", "straight_through", "draws")),
        ("key", c_uint64),
        ("first_row", c_uint32),
        ("first_step", c_uint32),
        ("slope", c_double),
        ("rates", c_double * len(_KINDS)),
        ("thresholds", c_int64 * len(_KINDS)),
        *(
            (name, c_void_p)
            for name in (*("x", "forced", "numbers", *_FOUND, *(f"d_{name}" for name in _FOUND), "d_x"),)
        ),
        ("layer", ctypes.POINTER(_Layer)),
    )


Arrays = dict[str, Tensor]
"""Tensors by the field that points to them: NAME of the call, K.NAME of layer K; absent ones are not there."""


def kernel(x: Tensor, states: Sequence[HMState], hierarchy: Hierarchy) -> HMOutput:
    """The kernel of the HM-LSTM (`lsseq.nn.kernels.hierarchy.HMKernel`), for what its choice (`dispatch`) hands to it.

    Raises:
        ValueError: input and parameters differ in their dtype.
    """
    weights, L = hierarchy.weights, len(hierarchy.weights)
    given: list[Tensor | None] = [x]
    for layer, state in zip(weights, states, strict=True):
        above = None if layer.above is None else layer.above.weight
        given += [*(part.to(x.dtype) for part in state), layer.below.weight, layer.hidden.compose(), above, layer.bias]
        given += [layer.below_gain, layer.hidden_gain, layer.above_gain, layer.cell_gain, layer.cell_bias]
    native.require_one_dtype(given)
    if torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in given):
        results = _Sequence.apply(hierarchy, *given)  # type: ignore[no-untyped-call]
    else:
        results = _results(_run_forward(hierarchy, given, saves=False), L)
    outputs, (boundaries, probabilities, sums), last = results[:L], results[L : L + 3], results[L + 3 :]
    h, c, z = last[:L], last[L : 2 * L], (*last[2 * L :], states[-1].z)
    return HMOutput(outputs, boundaries, probabilities, sums, (h, c, z))


def _run_forward(hierarchy: Hierarchy, given: Sequence[Tensor | None], *, saves: bool) -> Arrays:
    """The forward pass: what was given, what came out, and, where a backward pass follows (`saves`), what it needs."""
    names = ["x", *(f"{k}.{name}" for k in range(len(hierarchy.weights)) for name in _GIVEN)]
    arrays = {name: part.contiguous() for name, part in zip(names, given, strict=True) if part is not None}
    x, L = arrays["x"], len(hierarchy.weights)
    T, B, _ = x.shape
    half = 0 if saves or T < 2 * _KEPT_STEPS else _KEPT_STEPS * B
    N = 2 * half or (T + 1) * B  # as many events as there can be; memory that is not written is not taken
    whole = partial(torch.empty, device=x.device)
    arrays |= {name: x.new_empty(T, B, L - 1) for name in _FOUND}
    for k, layer in enumerate(hierarchy.weights):
        H = layer.hidden.size
        arrays |= {
            f"{k}.output": x.new_empty(T, B, H),
            f"{k}.event": whole(T + 1, B, dtype=torch.int32),
            f"{k}.source": whole(N, dtype=torch.int32),
            f"{k}.above": whole(N, dtype=torch.int32),
            f"{k}.starts": whole(T + 2, dtype=torch.int64),
            f"{k}.plain": whole(T, dtype=torch.int64),
            f"{k}.h": x.new_empty(N, H),
            f"{k}.c": x.new_empty(N, H),
            f"{k}.gates": x.new_empty(N, 4 * H),
            f"{k}.from_hidden": x.new_empty(N, 4 * H),
            f"{k}.input": x.new_empty(N, layer.below.size),
        }
        if k > 0 and (below := hierarchy.weights[k - 1]).above is not None:
            arrays[f"{k}.for_below"] = x.new_empty(N, 4 * below.hidden.size)
        if layer.hidden_gain is not None:
            scales = ("hidden_scale", "for_below_scale", "below_scale")
            arrays |= {f"{k}.{name}": x.new_empty(N) for name in scales}
            if saves:
                arrays[f"{k}.from_below"] = x.new_empty(N, 4 * H)
    if hierarchy.forced is not None:
        arrays["forced"] = hierarchy.forced.to(x.dtype).contiguous()
    numbers = [hierarchy.numbers(k, x) for k in range(L - 1)]
    if None not in numbers:
        arrays["numbers"] = torch.stack(cast(list[Tensor], numbers))
    _call("hm_forward", hierarchy, arrays, half=half)
    return arrays


def _results(arrays: Arrays, L: int) -> tuple[Tensor, ...]:
    """Outputs, `_FOUND`, last h, last c of each layer, last z of each but the top."""
    boundaries = arrays["boundaries"]
    last = [arrays[f"{k}.event"][-1].long() for k in range(L)]
    return (
        *(arrays[f"{k}.output"] for k in range(L)),
        *(arrays[name] for name in _FOUND),
        *(arrays[f"{k}.{name}"][last[k]] for name in "hc" for k in range(L)),
        *(boundaries[-1, :, k : k + 1].clone() for k in range(L - 1)),
    )


class _Sequence(torch.autograd.Function):
    """(x (T, B, I), then of each layer `_GIVEN`) -> `_results`."""

    @staticmethod
    def forward(ctx: Any, hierarchy: Hierarchy, *given: Tensor | None) -> tuple[Tensor, ...]:
        arrays = _run_forward(hierarchy, given, saves=True)
        ctx.set_materialize_grads(False)
        ctx.hierarchy, ctx.names = hierarchy, tuple(arrays)
        ctx.save_for_backward(*arrays.values())
        return _results(arrays, len(hierarchy.weights))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        hierarchy: Hierarchy = ctx.hierarchy
        L = len(hierarchy.weights)
        arrays: Arrays = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        names = [f"{k}.d_output" for k in range(L)] + [f"d_{name}" for name in _FOUND]
        names += [f"{k}.d_{name}" for name in "hcz" for k in range(L)][:-1]
        given = {name: d.contiguous() for name, d in zip(names, d_results, strict=True) if d is not None}
        found: Arrays = {"d_x": torch.empty_like(arrays["x"])} if ctx.needs_input_grad[1] else {}
        counts = [int(arrays[f"{k}.starts"][-1]) for k in range(L)]
        for k, N in enumerate(counts):
            found |= _gradient_arrays(arrays, given, k, N)
        _call("hm_backward", hierarchy, arrays | given | found)
        gradients = [found.get("d_x")]
        for k in range(L):
            gradients += [found[f"{k}.d_{name}"] for name in "hcz"]
            gradients += _weight_gradients(arrays, found, k, counts)
        return None, *gradients


def _gradient_arrays(arrays: Arrays, given: Arrays, k: int, N: int) -> Arrays:
    """The arrays of a layer of N events that the backward pass writes; those of its last state it goes on from."""
    h = arrays[f"{k}.h"]
    B, H = arrays[f"{k}.h0"].shape
    d_sums = h.new_empty(N, 4 * H)
    normed = f"{k}.hidden_gain" in arrays
    # Those of the last state are written over, therefore a copy.
    last = {name: given.get(f"{k}.d_{name}") for name in "hcz"}
    found = {
        f"{k}.d_{name}": torch.zeros_like(arrays[f"{k}.{name}0"]) if d is None else d.clone()
        for name, d in last.items()
    }
    return found | {
        f"{k}.d_sums": d_sums,
        **{f"{k}.{name}": torch.empty_like(d_sums) if normed else d_sums for name in _D_PRODUCTS},
        **{f"{k}.d_{gain}": h.new_zeros(B, *arrays[f"{k}.{gain}"].shape) for gain in _GAINS if f"{k}.{gain}" in arrays},
        f"{k}.d_sum_z": h.new_zeros(N),
        f"{k}.d_hidden_z": h.new_zeros(N),
        f"{k}.d_below_z": h.new_zeros(N),
        f"{k}.d_bias_z": h.new_zeros(B),
    }


def _weight_gradients(arrays: Arrays, found: Arrays, k: int, counts: list[int]) -> list[Tensor | None]:
    """The gradients of a layer's parameters in the order of `_GIVEN`; of a weight, one product over all events."""
    N, B, top = counts[k], arrays[f"{k}.h0"].shape[0], k == len(counts) - 1
    d_below, d_hidden, d_above = (found[f"{k}.{name}"][B:] for name in _D_PRODUCTS)
    h = arrays[f"{k}.h"][:N]

    def with_detector(gates: Tensor, boundary: Tensor) -> Tensor:
        return gates if top else torch.cat([gates, boundary.unsqueeze(0)])

    read = arrays[f"{k}.input"][B:N]
    below = with_detector(multiply(d_below.t(), read), found[f"{k}.d_sum_z"][B:] @ read)
    hidden = with_detector(multiply(d_hidden.t(), h[arrays[f"{k}.source"][B:N]]), found[f"{k}.d_hidden_z"] @ h)
    above = None
    if f"{k}.w_above" in arrays:
        h_above, event = arrays[f"{k + 1}.h"][: counts[k + 1]], arrays[f"{k}.above"][B:N]
        reads = (event >= 0).nonzero().squeeze(1)
        gates = multiply(d_above[reads].t(), h_above[event[reads]])
        above = with_detector(gates, found[f"{k + 1}.d_below_z"] @ h_above)
    bias = found[f"{k}.d_sums"][B:].sum(0)
    if not top:
        bias = torch.cat([bias, found[f"{k}.d_bias_z"].sum(0, keepdim=True)])
    d_gains = (found.get(f"{k}.d_{gain}") for gain in _GAINS)
    return [below, hidden, above, bias, *(None if d is None else d.sum(0) for d in d_gains)]


def _call(name: str, hierarchy: Hierarchy, arrays: Arrays, *, half: int = 0) -> None:
    """Run a function of the library on these arrays."""
    T, B, _ = arrays["x"].shape
    layers = (_Layer * len(hierarchy.weights))()
    work = 0
    for layer, weights in zip(layers, hierarchy.weights, strict=True):
        layer.units, layer.below = weights.hidden.size, weights.below.size
        work += B * layer.units**2
    draws = hierarchy.draws(0)
    rates = (hierarchy.zoneout_cell, hierarchy.zoneout_hidden)
    call = _Call(
        steps=T,
        rows=B,
        half=half,
        layers=len(layers),
        threads=native.threads(T, work),
        product=hierarchy.gradient == "product",
        holds=hierarchy.holds,
        nested=hierarchy.nested,
        flushes=hierarchy.flushes,
        straight_through=hierarchy.straight_through,
        draws=draws is not None,
        key=0 if draws is None else draws.key,
        first_row=0 if draws is None else draws.first_row,
        first_step=0 if draws is None else draws.first_step,
        slope=hierarchy.slope,
        rates=(c_double * len(_KINDS))(*rates),
        thresholds=(c_int64 * len(_KINDS))(*(round(rate * 2**32) - 2**31 for rate in rates)),
        layer=layers,
    )
    for field, tensor in arrays.items():
        k, _, of_layer = field.rpartition(".")
        setattr(layers[int(k)] if k else call, of_layer, tensor.data_ptr())
    native.call_function(name, arrays["x"].dtype, call)
