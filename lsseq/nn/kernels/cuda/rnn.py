"""The simple recurrent network; the equations are those of lsseq/nn/cells/rnn.py."""

from __future__ import annotations

import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import line_of, rows_of, take, tanh, units_of
from lsseq.nn.kernels.cuda.launch import launch
from lsseq.nn.kernels.cuda.masks import HIDDEN, share
from lsseq.nn.kernels.cuda.products import Backward, Product
from lsseq.nn.kernels.cuda.whole import arrive, product, wait


@triton.jit(do_not_specialize=["begin", "end"])
def _forward(
    sums,  # (T, B, H), in whose place the new states before zoneout are left
    states,  # (T + 1, B, H)
    weight,  # (H, H); None where the sums have the product with the state already
    counters,
    words,
    rates,
    begin,
    end,
    B,
    H,
    SAVES: tl.constexpr,
    RELU: tl.constexpr,
    DRAWS_H: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row, unit = rows_of(ROWS), units_of(UNITS)
    inside = (row < B) & (unit < H)
    if weight is not None:
        right = weight + unit * H
    old = take(states + line_of(begin, B, row) * H + unit, inside, rates)
    for step in range(end - begin):
        t = begin + step
        line = line_of(t, B, row)
        here, state = line * H + unit, states + line * H
        total = take(sums + here, inside, rates)
        keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
        if weight is not None:
            if counters is not None:
                wait(counters + tl.program_id(0), step * tl.num_programs(1))
            total += product(state, row < B, right, 1, unit < H, H, rates, UNITS, ROWS, DEPTH, PRECISION)
        new = tl.where(total < 0, 0, total) if RELU else tanh(total)
        zoned = (keeps * old + (1 - keeps) * new).to(states.dtype.element_ty)
        old = zoned.to(rates.dtype.element_ty)
        tl.store(state + unit + B * H, zoned, mask=inside)
        if counters is not None:
            arrive(counters + tl.program_id(0))
        if SAVES:
            tl.store(sums + here, new, mask=inside)


@triton.jit(do_not_specialize=["begin", "end", "T"])
def _backward(
    news,  # (T, B, H)
    weight,  # (H, H); None where d_state comes from outside
    d_outputs,  # (T, B, H)
    d_state,  # (B, H): what came through the product of the step after
    carry_h,  # (B, H): what comes past it
    d_sums,  # (T, B, H)
    counters,
    words,
    rates,
    begin,
    end,
    T,
    B,
    H,
    RELU: tl.constexpr,
    DRAWS_H: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row, unit = rows_of(ROWS), units_of(UNITS)
    inside = (row < B) & (unit < H)
    at = row * H + unit
    if weight is not None:
        right = weight + unit
    d_past = take(carry_h + at, inside, rates)
    for step in range(end - begin):
        t = end - 1 - step
        line = line_of(t, B, row)
        here = line * H + unit
        new = take(news + here, inside, rates)
        keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
        d_h = d_past + take(d_outputs + here, inside, rates)
        if weight is None:
            d_h += take(d_state + at, inside, rates)
        elif t + 1 < T:
            if counters is not None:
                wait(counters + tl.program_id(0), step * tl.num_programs(1))
            left = d_sums + (line + B) * H
            d_h += product(left, row < B, right, H, unit < H, H, rates, UNITS, ROWS, DEPTH, PRECISION)
        d_new = (1 - keeps) * d_h
        tl.store(d_sums + here, tl.where(new <= 0, 0, d_new) if RELU else d_new * (1 - new * new), mask=inside)
        if counters is not None:
            arrive(counters + tl.program_id(0))
        d_past = keeps * d_h
    tl.store(carry_h + at, d_past, mask=inside)


def _product(call: Call) -> Product:
    weight = call.arrays["weight"]
    return Product(weight, call.arrays.get("gain"), [len(weight)], call.arrays.get("raw"))


def forward(call: Call) -> None:
    """All steps: fills the states."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    if "gain" in a:
        a["raw"] = call.each_step(B, H)
    product, sums, states, launches = _product(call), a["sums"], a["states"], launch(call)
    for begin, end in launches.spans(T):
        if launches.weight is None:
            product.add(begin, states[begin], sums[begin], sums[begin])
        _forward[launches.programs](
            *(sums, states, launches.weight, launches.counters(), masks.words, masks.rates, begin, end, B, H),
            *(call.saves, call.variant == "relu", masks.drawn[HIDDEN.value]),
            **launches.options,
        )


def backward(call: Call, d: Gradients) -> Arrays:
    """All steps back: the gradients of the parameters."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    product, launches = Backward(_product(call), d.sums), launch(call, back=True)
    for begin, end in reversed(launches.spans(T)):
        _backward[launches.programs](
            *(a["sums"], launches.weight, d.outputs, d.state, d.carry_h, d.sums, launches.counters()),
            *(masks.words, masks.rates, begin, end, T, B, H, call.variant == "relu", masks.drawn[HIDDEN.value]),
            **launches.options,
        )
        if launches.weight is None or begin == 0:
            product.step(begin, d.state)
    return product.parameters(a["states"][:-1])
