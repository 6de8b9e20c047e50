"""The LSTM; the equations are those of lsseq/nn/cells/lstm.py."""

from __future__ import annotations

import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import EPSILON, line_of, rows_of, take, tanh, units_from
from lsseq.nn.kernels.cuda.launch import launch
from lsseq.nn.kernels.cuda.masks import CELL, HIDDEN, kept, share
from lsseq.nn.kernels.cuda.products import Backward, Product
from lsseq.nn.kernels.cuda.whole import plus_product, through_product


@triton.jit
def _new_cell(i, f, g, before, DROPS: tl.constexpr, words, rates, t, row, unit):
    return f * before + i * (kept(DROPS, words, rates, t, row, unit) * g)


@triton.jit
def _normal(c, inside, H):
    """The cells of whole rows with mean 0 and variance 1, and the factor of the latter."""
    c = tl.where(inside, c, 0)
    c = tl.where(inside, c - tl.sum(c, 1)[:, None] / H, 0)
    scale = 1 / tl.sqrt(tl.sum(c * c, 1)[:, None] / H + EPSILON)
    return c * scale, scale


@triton.jit(do_not_specialize=["begin", "end"])
def _forward(
    gates,  # (T, B, 4H): the sums, in whose place the gates are left
    states,  # (T + 1, B, H)
    cells,  # (T + 1, B, H), or (1, B, H) where they are not saved
    weight,  # (4H, H); None where the sums have the product with the state already
    cell_gain,  # (H,), or None
    cell_bias,  # (H,), or None
    words,
    rates,
    begin,
    end,
    B,
    H,
    SAVES: tl.constexpr,
    DRAWS_C: tl.constexpr,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
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
            gate, state, cell = gates + line * 4 * H + unit, states + line * H, cells + (line if SAVES else row) * H
            i = take(gate, inside, rates)
            f = take(gate + H, inside, rates)
            g = take(gate + 2 * H, inside, rates)
            o = take(gate + 3 * H, inside, rates)
            if weight is not None:
                of_unit = weight + unit * H
                i = plus_product(i, state, of_unit, row < B, unit < H, H, 1, DEPTH, TF32)
                f = plus_product(f, state, of_unit + H * H, row < B, unit < H, H, 1, DEPTH, TF32)
                g = plus_product(g, state, of_unit + 2 * H * H, row < B, unit < H, H, 1, DEPTH, TF32)
                o = plus_product(o, state, of_unit + 3 * H * H, row < B, unit < H, H, 1, DEPTH, TF32)
            i, f, g, o = tl.sigmoid(i), tl.sigmoid(f), tanh(g), tl.sigmoid(o)
            before = take(cell + unit, inside, rates)
            c = _new_cell(i, f, g, before, DROPS, words, rates, t, row, unit)
            keeps = share(CELL, DRAWS_C, words, rates, t, row, unit)
            tl.store(cell + unit + (B * H if SAVES else 0), keeps * before + (1 - keeps) * c, mask=inside)
            if cell_gain is not None:
                normal, _ = _normal(c, inside, H)
                c = normal * take(cell_gain + unit, inside, rates)
                if cell_bias is not None:
                    c += take(cell_bias + unit, inside, rates)
            keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
            new = keeps * take(state + unit, inside, rates) + (1 - keeps) * (o * tanh(c))
            tl.store(state + unit + B * H, new, mask=inside)
            if SAVES:
                tl.store(gate, i, mask=inside)
                tl.store(gate + H, f, mask=inside)
                tl.store(gate + 2 * H, g, mask=inside)
                tl.store(gate + 3 * H, o, mask=inside)
        if weight is not None:
            tl.debug_barrier()  # the next step reads the states of all units


@triton.jit(do_not_specialize=["begin", "end"])
def _backward(
    gates,
    cells,
    weight,  # (4H, H); None where d_state comes from outside
    cell_gain,
    cell_bias,
    d_outputs,  # (T, B, H)
    d_cells,  # (T, B, H), or None
    d_state,  # (B, H): what came through the product of the step after
    carry_h,  # (B, H): what comes past it
    carry_c,  # (B, H)
    d_sums,  # (T, B, 4H)
    d_cell_gain,  # (B, H): of each row, summed up over the steps; or None
    d_cell_bias,  # (B, H); or None
    words,
    rates,
    begin,
    end,
    B,
    H,
    DRAWS_C: tl.constexpr,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
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
            gate, d_sum = gates + line * 4 * H + unit, d_sums + line * 4 * H + unit
            at, here = row * H + unit, line * H + unit
            i = take(gate, inside, rates)
            f = take(gate + H, inside, rates)
            g = take(gate + 2 * H, inside, rates)
            o = take(gate + 3 * H, inside, rates)
            before = take(cells + here, inside, rates)
            factor = kept(DROPS, words, rates, t, row, unit)
            c = f * before + i * (factor * g)
            keeps_h = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
            keeps_c = share(CELL, DRAWS_C, words, rates, t, row, unit)
            d_h = take(d_outputs + here, inside, rates) + take(d_state + at, inside, rates)
            d_h += take(carry_h + at, inside, rates)
            d_c = take(carry_c + at, inside, rates)
            if d_cells is not None:
                d_c += take(d_cells + here, inside, rates)
            d_new_h = (1 - keeps_h) * d_h
            if cell_gain is not None:
                normal, scale = _normal(c, inside, H)
                gain = take(cell_gain + unit, inside, rates)
                squashed = normal * gain
                if cell_bias is not None:
                    squashed += take(cell_bias + unit, inside, rates)
                squashed = tanh(squashed)
                d = d_new_h * o * (1 - squashed * squashed)
                tl.store(d_cell_gain + at, take(d_cell_gain + at, inside, rates) + d * normal, mask=inside)
                if cell_bias is not None:
                    tl.store(d_cell_bias + at, take(d_cell_bias + at, inside, rates) + d, mask=inside)
                d *= gain
                mean, slope = tl.sum(d, 1)[:, None] / H, tl.sum(d * normal, 1)[:, None] / H
                d_new_c = scale * (d - mean - normal * slope)
            else:
                squashed = tanh(c)
                d_new_c = d_new_h * o * (1 - squashed * squashed)
            d_new_c += (1 - keeps_c) * d_c
            tl.store(d_sum, d_new_c * factor * g * i * (1 - i), mask=inside)
            tl.store(d_sum + H, d_new_c * before * f * (1 - f), mask=inside)
            tl.store(d_sum + 2 * H, d_new_c * factor * i * (1 - g * g), mask=inside)
            tl.store(d_sum + 3 * H, d_new_h * squashed * o * (1 - o), mask=inside)
            tl.store(carry_h + at, keeps_h * d_h, mask=inside)
            tl.store(carry_c + at, keeps_c * d_c + d_new_c * f, mask=inside)
        if weight is not None:
            left = d_sums + line * 4 * H
            through_product(d_state, left, weight, row, B, H, 4 * H, rates, ROWS, UNITS, DEPTH, TF32)


def _product(call: Call) -> Product:
    weight = call.arrays["weight"]
    return Product(weight, call.arrays.get("gain"), [len(weight)], call.arrays.get("raw"))


def forward(call: Call) -> None:
    """All steps: fills the states and cells."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    if "gain" in a:
        a["raw"] = call.each_step(B, 4 * H)
    product, sums, states, launches = _product(call), a["sums"], a["states"], launch(call)
    for begin, end in launches.spans(T):
        if not launches.whole:
            product.add(begin, states[begin], sums[begin], sums[begin])
        _forward[launches.programs](
            *(sums, states, a["cells"], launches.weight, a.get("cell_gain"), a.get("cell_bias")),
            *(masks.words, masks.rates, begin, end, B, H, call.saves, *masks.drawn),
            **launches.options,
        )


def backward(call: Call, d: Gradients) -> Arrays:
    """All steps back: the gradients of the parameters."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    product, launches = Backward(_product(call), d.sums), launch(call)
    norm = {name: d.carry_h.new_zeros(B, H) for name in ("cell_gain", "cell_bias") if name in a}
    for begin, end in reversed(launches.spans(T)):
        _backward[launches.programs](
            *(a["sums"], a["cells"], launches.weight, a.get("cell_gain"), a.get("cell_bias")),
            *(d.outputs, d.cells, d.state, d.carry_h, d.carry_c, d.sums, norm.get("cell_gain"), norm.get("cell_bias")),
            *(masks.words, masks.rates, begin, end, B, H, *masks.drawn),
            **launches.options,
        )
        if not launches.whole:
            product.step(begin, d.state)
    return product.parameters(a["states"][:-1]) | {name: rows.sum(0) for name, rows in norm.items()}
