"""The LSTM; the equations are those of lsseq/nn/cells/lstm.py."""

from __future__ import annotations

import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import EPSILON, grid, line_of, take, tanh, units_of
from lsseq.nn.kernels.cuda.masks import CELL, HIDDEN, kept, share
from lsseq.nn.kernels.cuda.products import Backward, Product


@triton.jit
def _new_cell(i, f, g, before, DROPS: tl.constexpr, words, rates, t, row, unit):
    return f * before + i * (kept(DROPS, words, rates, t, row, unit) * g)


@triton.jit
def _normal(c, inside, H):
    """The cells of a row with mean 0 and variance 1, and the factor of the latter."""
    c = tl.where(inside, c, 0)
    c = tl.where(inside, c - tl.sum(c) / H, 0)
    scale = 1 / tl.sqrt(tl.sum(c * c) / H + EPSILON)
    return c * scale, scale


@triton.jit(do_not_specialize=["t"])
def _forward(
    gates,  # (T, B, 4H): the sums, in whose place the gates are left
    states,  # (T + 1, B, H)
    cells,  # (T + 1, B, H), or (1, B, H) where they are not saved
    cell_gain,  # (H,), or None
    cell_bias,  # (H,), or None
    words,
    rates,
    t,
    B,
    H,
    SAVES: tl.constexpr,
    DRAWS_C: tl.constexpr,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, unit, line = tl.program_id(0), units_of(BLOCK), line_of(t, B)
    inside = unit < H
    gates += line * 4 * H + unit
    states += line * H + unit
    cells += (line if SAVES else row) * H + unit
    i = tl.sigmoid(take(gates, inside, rates))
    f = tl.sigmoid(take(gates + H, inside, rates))
    g = tanh(take(gates + 2 * H, inside, rates))
    o = tl.sigmoid(take(gates + 3 * H, inside, rates))
    before = take(cells, inside, rates)
    c = _new_cell(i, f, g, before, DROPS, words, rates, t, row, unit)
    keeps = share(CELL, DRAWS_C, words, rates, t, row, unit)
    tl.store(cells + (B * H if SAVES else 0), keeps * before + (1 - keeps) * c, mask=inside)
    if cell_gain is not None:
        normal, _ = _normal(c, inside, H)
        c = normal * take(cell_gain + unit, inside, rates)
        if cell_bias is not None:
            c += take(cell_bias + unit, inside, rates)
    keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
    new = keeps * take(states, inside, rates) + (1 - keeps) * (o * tanh(c))
    tl.store(states + B * H, new, mask=inside)
    if SAVES:
        tl.store(gates, i, mask=inside)
        tl.store(gates + H, f, mask=inside)
        tl.store(gates + 2 * H, g, mask=inside)
        tl.store(gates + 3 * H, o, mask=inside)


@triton.jit(do_not_specialize=["t"])
def _backward(
    gates,
    cells,
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
    t,
    B,
    H,
    DRAWS_C: tl.constexpr,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, unit, line = tl.program_id(0), units_of(BLOCK), line_of(t, B)
    inside = unit < H
    gates += line * 4 * H + unit
    d_sums += line * 4 * H + unit
    at = row * H + unit
    i = take(gates, inside, rates)
    f = take(gates + H, inside, rates)
    g = take(gates + 2 * H, inside, rates)
    o = take(gates + 3 * H, inside, rates)
    before = take(cells + line * H + unit, inside, rates)
    factor = kept(DROPS, words, rates, t, row, unit)
    c = f * before + i * (factor * g)
    keeps_h = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
    keeps_c = share(CELL, DRAWS_C, words, rates, t, row, unit)
    d_h = take(d_outputs + line * H + unit, inside, rates) + take(d_state + at, inside, rates)
    d_h += take(carry_h + at, inside, rates)
    d_c = take(carry_c + at, inside, rates)
    if d_cells is not None:
        d_c += take(d_cells + line * H + unit, inside, rates)
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
        d_new_c = scale * (d - tl.sum(d) / H - normal * (tl.sum(d * normal) / H))
    else:
        squashed = tanh(c)
        d_new_c = d_new_h * o * (1 - squashed * squashed)
    d_new_c += (1 - keeps_c) * d_c
    tl.store(d_sums, d_new_c * factor * g * i * (1 - i), mask=inside)
    tl.store(d_sums + H, d_new_c * before * f * (1 - f), mask=inside)
    tl.store(d_sums + 2 * H, d_new_c * factor * i * (1 - g * g), mask=inside)
    tl.store(d_sums + 3 * H, d_new_h * squashed * o * (1 - o), mask=inside)
    tl.store(carry_h + at, keeps_h * d_h, mask=inside)
    tl.store(carry_c + at, keeps_c * d_c + d_new_c * f, mask=inside)


def _product(call: Call) -> Product:
    weight = call.arrays["weight"]
    return Product(weight, call.arrays.get("gain"), [len(weight)], call.arrays.get("raw"))


def forward(call: Call) -> None:
    """All steps: fills the states and cells."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    if "gain" in a:
        a["raw"] = call.each_step(B, 4 * H)
    product, sums, states = _product(call), a["sums"], a["states"]
    programs, block = grid(B, H, whole_rows="cell_gain" in a)
    for t in range(T):
        now = sums[t]
        product.add(t, states[t], now, now)
        _forward[programs](
            *(sums, states, a["cells"], a.get("cell_gain"), a.get("cell_bias"), masks.words, masks.rates, t, B, H),
            call.saves,
            *masks.drawn,
            block,
        )


def backward(call: Call, d: Gradients) -> Arrays:
    """All steps back: the gradients of the parameters."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    product = Backward(_product(call), d.sums)
    norm = {name: d.carry_h.new_zeros(B, H) for name in ("cell_gain", "cell_bias") if name in a}
    programs, block = grid(B, H, whole_rows="cell_gain" in a)
    for t in reversed(range(T)):
        _backward[programs](
            *(a["sums"], a["cells"], a.get("cell_gain"), a.get("cell_bias")),
            *(d.outputs, d.cells, d.state, d.carry_h, d.carry_c, d.sums, norm.get("cell_gain"), norm.get("cell_bias")),
            *(masks.words, masks.rates, t, B, H),
            *masks.drawn,
            block,
        )
        product.step(t, d.state)
    return product.parameters(a["states"][:-1]) | {name: rows.sum(0) for name, rows in norm.items()}
