"""The LSTM; the equations are those of lsseq/nn/cells/lstm.py."""

from __future__ import annotations

import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import EPSILON, line_of, rows_of, take, tanh, units_of
from lsseq.nn.kernels.cuda.launch import launch
from lsseq.nn.kernels.cuda.masks import CELL, HIDDEN, kept, share
from lsseq.nn.kernels.cuda.products import Backward, Product
from lsseq.nn.kernels.cuda.whole import arrive, by_gate, columns_of, product, product_over_gates, wait


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
    counters,
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
    PRECISION: tl.constexpr,
):
    row, unit = rows_of(ROWS), units_of(UNITS)
    inside = (row < B) & (unit < H)
    if weight is not None:
        of_weight, is_column = columns_of(4, 4, H, UNITS)
        right = weight + of_weight * H
    first = line_of(begin, B, row)
    old_c = take(cells + (first if SAVES else row) * H + unit, inside, rates)
    old_h = take(states + first * H + unit, inside, rates)
    for step in range(end - begin):
        t = begin + step
        line = line_of(t, B, row)
        gate, state, cell = gates + line * 4 * H + unit, states + line * H, cells + (line if SAVES else row) * H + unit
        i = take(gate, inside, rates)
        f = take(gate + H, inside, rates)
        g = take(gate + 2 * H, inside, rates)
        o = take(gate + 3 * H, inside, rates)
        factor = kept(DROPS, words, rates, t, row, unit)
        keeps_c = share(CELL, DRAWS_C, words, rates, t, row, unit)
        keeps_h = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
        if weight is not None:
            if counters is not None:
                wait(counters + tl.program_id(0), step * tl.num_programs(1))
            total = product(state, row < B, right, 1, is_column, H, rates, 4 * UNITS, ROWS, DEPTH, PRECISION)
            h_i, h_f, h_g, h_o = by_gate(total, ROWS, UNITS)
            i, f, g, o = i + h_i, f + h_f, g + h_g, o + h_o
        i, f, g, o = tl.sigmoid(i), tl.sigmoid(f), tanh(g), tl.sigmoid(o)
        c = f * old_c + i * (factor * g)
        old_c = keeps_c * old_c + (1 - keeps_c) * c
        if cell_gain is not None:
            normal, _ = _normal(c, inside, H)
            c = normal * take(cell_gain + unit, inside, rates)
            if cell_bias is not None:
                c += take(cell_bias + unit, inside, rates)
        new = (keeps_h * old_h + (1 - keeps_h) * (o * tanh(c))).to(states.dtype.element_ty)
        old_h = new.to(rates.dtype.element_ty)
        tl.store(state + unit + B * H, new, mask=inside)
        if counters is not None:
            arrive(counters + tl.program_id(0))
        tl.store(cell + (B * H if SAVES else 0), old_c, mask=inside)
        if SAVES:
            tl.store(gate, i, mask=inside)
            tl.store(gate + H, f, mask=inside)
            tl.store(gate + 2 * H, g, mask=inside)
            tl.store(gate + 3 * H, o, mask=inside)


@triton.jit(do_not_specialize=["begin", "end", "T"])
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
    counters,
    words,
    rates,
    begin,
    end,
    T,
    B,
    H,
    DRAWS_C: tl.constexpr,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
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
    d_past_h, d_past_c = take(carry_h + at, inside, rates), take(carry_c + at, inside, rates)
    for step in range(end - begin):
        t = end - 1 - step
        line = line_of(t, B, row)
        gate, d_sum, here = gates + line * 4 * H + unit, d_sums + line * 4 * H + unit, line * H + unit
        i = take(gate, inside, rates)
        f = take(gate + H, inside, rates)
        g = take(gate + 2 * H, inside, rates)
        o = take(gate + 3 * H, inside, rates)
        before = take(cells + here, inside, rates)
        factor = kept(DROPS, words, rates, t, row, unit)
        keeps_h = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
        keeps_c = share(CELL, DRAWS_C, words, rates, t, row, unit)
        c = f * before + i * (factor * g)
        d_h = d_past_h + take(d_outputs + here, inside, rates)
        d_c = d_past_c
        if d_cells is not None:
            d_c += take(d_cells + here, inside, rates)
        if weight is None:
            d_h += take(d_state + at, inside, rates)
        elif t + 1 < T:
            if counters is not None:
                wait(counters + tl.program_id(0), step * tl.num_programs(1))
            left = d_sums + (line + B) * 4 * H
            d_h += product_over_gates(left, row < B, right, unit < H, H, rates, 4, 4, UNITS, ROWS, DEPTH, PRECISION)
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
        if counters is not None:
            arrive(counters + tl.program_id(0))
        d_past_h = keeps_h * d_h
        d_past_c = keeps_c * d_c + d_new_c * f
    tl.store(carry_h + at, d_past_h, mask=inside)
    tl.store(carry_c + at, d_past_c, mask=inside)


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
        if launches.weight is None:
            product.add(begin, states[begin], sums[begin], sums[begin])
        _forward[launches.programs](
            *(sums, states, a["cells"], launches.weight, a.get("cell_gain"), a.get("cell_bias"), launches.counters()),
            *(masks.words, masks.rates, begin, end, B, H, call.saves, *masks.drawn),
            **launches.options,
        )


def backward(call: Call, d: Gradients) -> Arrays:
    """All steps back: the gradients of the parameters."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    product, launches = Backward(_product(call), d.sums), launch(call, back=True)
    norm = {name: d.carry_h.new_zeros(B, H) for name in ("cell_gain", "cell_bias") if name in a}
    for begin, end in reversed(launches.spans(T)):
        _backward[launches.programs](
            *(a["sums"], a["cells"], launches.weight, a.get("cell_gain"), a.get("cell_bias")),
            *(d.outputs, d.cells, d.state, d.carry_h, d.carry_c, d.sums, norm.get("cell_gain"), norm.get("cell_bias")),
            *(launches.counters(), masks.words, masks.rates, begin, end, T, B, H, *masks.drawn),
            **launches.options,
        )
        if launches.weight is None or begin == 0:
            product.step(begin, d.state)
    return product.parameters(a["states"][:-1]) | {name: rows.sum(0) for name, rows in norm.items()}
