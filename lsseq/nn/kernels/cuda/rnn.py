"""The simple recurrent network; the equations are those of lsseq/nn/cells/rnn.py."""

from __future__ import annotations

import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import line_of, rows_of, take, tanh, units_from
from lsseq.nn.kernels.cuda.launch import launch
from lsseq.nn.kernels.cuda.masks import HIDDEN, share
from lsseq.nn.kernels.cuda.products import Backward, Product
from lsseq.nn.kernels.cuda.whole import plus_product, through_product


@triton.jit(do_not_specialize=["begin", "end"])
def _forward(
    sums,  # (T, B, H), in whose place the new states before zoneout are left
    states,  # (T + 1, B, H)
    weight,  # (H, H); None where the sums have the product with the state already
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
    TF32: tl.constexpr,
):
    row = rows_of(ROWS)
    for step in range(end - begin):
        t = begin + step
        line = line_of(t, B, row)
        for first in range(tl.program_id(1) * UNITS, H, tl.num_programs(1) * UNITS):
            unit = units_from(first, UNITS)
            inside = (row < B) & (unit < H)
            here, state = line * H + unit, states + line * H
            total = take(sums + here, inside, rates)
            if weight is not None:
                total = plus_product(total, state, weight + unit * H, row < B, unit < H, H, 1, DEPTH, TF32)
            new = tl.where(total < 0, 0, total) if RELU else tanh(total)
            keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
            zoned = keeps * take(state + unit, inside, rates) + (1 - keeps) * new
            tl.store(state + unit + B * H, zoned, mask=inside)
            if SAVES:
                tl.store(sums + here, new, mask=inside)
        if weight is not None:
            tl.debug_barrier()  # the next step reads the states of all units


@triton.jit(do_not_specialize=["begin", "end"])
def _backward(
    news,  # (T, B, H)
    weight,  # (H, H); None where d_state comes from outside
    d_outputs,  # (T, B, H)
    d_state,  # (B, H): what came through the product of the step after
    carry_h,  # (B, H): what comes past it
    d_sums,  # (T, B, H)
    words,
    rates,
    begin,
    end,
    B,
    H,
    RELU: tl.constexpr,
    DRAWS_H: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    TF32: tl.constexpr,
):
    row = rows_of(ROWS)
    for step in range(end - begin):
        t = end - 1 - step
        line = line_of(t, B, row)
        for first in range(tl.program_id(1) * UNITS, H, tl.num_programs(1) * UNITS):
            unit = units_from(first, UNITS)
            inside = (row < B) & (unit < H)
            at, here = row * H + unit, line * H + unit
            new = take(news + here, inside, rates)
            keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
            d_h = take(d_outputs + here, inside, rates) + take(d_state + at, inside, rates)
            d_h += take(carry_h + at, inside, rates)
            d_new = (1 - keeps) * d_h
            tl.store(d_sums + here, tl.where(new <= 0, 0, d_new) if RELU else d_new * (1 - new * new), mask=inside)
            tl.store(carry_h + at, keeps * d_h, mask=inside)
        if weight is not None:
            left = d_sums + line * H
            through_product(d_state, left, weight, row, B, H, H, rates, ROWS, UNITS, DEPTH, TF32)


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
        if not launches.whole:
            product.add(begin, states[begin], sums[begin], sums[begin])
        _forward[launches.programs](
            *(sums, states, launches.weight, masks.words, masks.rates, begin, end, B, H),
            *(call.saves, call.variant == "relu", masks.drawn[HIDDEN.value]),
            **launches.options,
        )


def backward(call: Call, d: Gradients) -> Arrays:
    """All steps back: the gradients of the parameters."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    product, launches = Backward(_product(call), d.sums), launch(call)
    for begin, end in reversed(launches.spans(T)):
        _backward[launches.programs](
            *(a["sums"], launches.weight, d.outputs, d.state, d.carry_h, d.sums, masks.words, masks.rates),
            *(begin, end, B, H, call.variant == "relu", masks.drawn[HIDDEN.value]),
            **launches.options,
        )
        if not launches.whole:
            product.step(begin, d.state)
    return product.parameters(a["states"][:-1])
