"""The GRU; the equations are those of lsseq/nn/cells/gru.py.

Where the reset gate acts after the product, a step is a product and a kernel. Where it acts before, it is two of each:
for r and z, then for n from the state that was reset.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import line_of, rows_of, take, tanh, units_of
from lsseq.nn.kernels.cuda.launch import launch
from lsseq.nn.kernels.cuda.masks import DROPOUT, HIDDEN, kept, share
from lsseq.nn.kernels.cuda.products import Backward, Product
from lsseq.nn.kernels.cuda.whole import arrive, by_gate, columns_of, product, product_over_gates, wait


@triton.jit
def _new_state(z, n, old, factor, keeps):
    return keeps * old + (1 - keeps) * (z * old + (1 - z) * (factor * n))


@triton.jit(do_not_specialize=["begin", "end"])
def _forward(
    gates,  # (T, B, 3H): the products with the input, in whose place the gates are left
    products,  # (B, 3H): those with the state; or what they are added to, the bias (3H,)
    inner,  # (T, B, H): what the reset gate multiplies; None where nothing is saved
    states,  # (T + 1, B, H)
    weight,  # (3H, H); None where the products with the state are there
    counters,
    words,
    rates,
    begin,
    end,
    B,
    H,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Reset after the product: all of a step."""
    row, unit = rows_of(ROWS), units_of(UNITS)
    inside = (row < B) & (unit < H)
    given = products + (row if weight is None else row * 0) * 3 * H + unit
    h_r = take(given, inside, rates)
    h_z = take(given + H, inside, rates)
    h_n = take(given + 2 * H, inside, rates)
    if weight is not None:
        of_weight, is_column = columns_of(3, 4, H, UNITS)
        right = weight + of_weight * H
    old = take(states + line_of(begin, B, row) * H + unit, inside, rates)
    for step in range(end - begin):
        t = begin + step
        line = line_of(t, B, row)
        gate, state = gates + line * 3 * H + unit, states + line * H
        r = take(gate, inside, rates) + h_r
        z = take(gate + H, inside, rates) + h_z
        n = take(gate + 2 * H, inside, rates)
        inside_n = h_n
        factor = kept(DROPS, words, rates, t, row, unit)
        keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
        if weight is not None:
            if counters is not None:
                wait(counters + tl.program_id(0), step * tl.num_programs(1))
            total = product(state, row < B, right, 1, is_column, H, rates, 4 * UNITS, ROWS, DEPTH, PRECISION)
            w_r, w_z, w_n, _ = by_gate(total, ROWS, UNITS)
            r, z, inside_n = r + w_r, z + w_z, inside_n + w_n
        r, z = tl.sigmoid(r), tl.sigmoid(z)
        n = tanh(n + r * inside_n)
        new = _new_state(z, n, old, factor, keeps).to(states.dtype.element_ty)
        old = new.to(rates.dtype.element_ty)
        tl.store(state + unit + B * H, new, mask=inside)
        if counters is not None:
            arrive(counters + tl.program_id(0))
        if inner is not None:
            tl.store(gate, r, mask=inside)
            tl.store(gate + H, z, mask=inside)
            tl.store(gate + 2 * H, n, mask=inside)
            tl.store(inner + line * H + unit, inside_n, mask=inside)


@triton.jit(do_not_specialize=["t"])
def _forward_gates(
    gates,  # (T, B, 3H): the sums of r and z, in whose place the gates are left
    reset,  # (B, H): r ⊙ h
    states,  # (T + 1, B, H)
    rates,
    t,
    B,
    H,
    UNITS: tl.constexpr,
):
    """Reset before the product: r and z."""
    row, unit = tl.program_id(0), tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    line, inside = line_of(t, B, row), unit < H
    gates += line * 3 * H + unit
    r = tl.sigmoid(take(gates, inside, rates))
    z = tl.sigmoid(take(gates + H, inside, rates))
    tl.store(gates, r, mask=inside)
    tl.store(gates + H, z, mask=inside)
    old = take(states + line * H + unit, inside, rates)
    tl.store(reset + row * H + unit, r * old, mask=inside)


@triton.jit(do_not_specialize=["t"])
def _forward_candidate(
    gates,  # (T, B, 3H): r, z and the sums of n, in whose place n is left
    states,  # (T + 1, B, H)
    words,
    rates,
    t,
    B,
    H,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
    UNITS: tl.constexpr,
):
    """Reset before the product: n and the new state."""
    row, unit = tl.program_id(0), tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    line, inside = line_of(t, B, row), unit < H
    gates += line * 3 * H + unit
    states += line * H + unit
    z = take(gates + H, inside, rates)
    n = tanh(take(gates + 2 * H, inside, rates))
    factor = kept(DROPS, words, rates, t, row, unit)
    keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
    new = _new_state(z, n, take(states, inside, rates), factor, keeps)
    tl.store(states + B * H, new, mask=inside)
    tl.store(gates + 2 * H, n, mask=inside)


@triton.jit(do_not_specialize=["begin", "end", "T"])
def _backward(
    gates,  # (T, B, 3H)
    inner,  # (T, B, H); None where the reset gate acts before the product
    states,  # (T + 1, B, H)
    weight,  # (3H, H); None where d_state comes from outside
    d_outputs,  # (T, B, H)
    d_state,  # (B, H): what came through the product of the step after
    carry_h,  # (B, H): what comes past it
    d_sums,  # (T, B, 3H): of the products with the input
    d_products,  # (T, B, 3H): of those with the state; d_sums itself where the reset gate acts before the product
    counters,
    words,
    rates,
    begin,
    end,
    T,
    B,
    H,
    DRAWS_H: tl.constexpr,
    DROPS: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """All gradients of a step, without that of r where it acts before the product."""
    row, unit = rows_of(ROWS), units_of(UNITS)
    inside = (row < B) & (unit < H)
    at = row * H + unit
    if weight is not None:
        right = weight + unit
    d_past = take(carry_h + at, inside, rates)
    for step in range(end - begin):
        t = end - 1 - step
        line = line_of(t, B, row)
        of_gates, here = line * 3 * H + unit, line * H + unit
        gate, d_sum, d_product = gates + of_gates, d_sums + of_gates, d_products + of_gates
        r = take(gate, inside, rates)
        z = take(gate + H, inside, rates)
        n = take(gate + 2 * H, inside, rates)
        old = take(states + here, inside, rates)
        factor = kept(DROPS, words, rates, t, row, unit)
        keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
        d_h = d_past + take(d_outputs + here, inside, rates)
        if weight is None:
            d_h += take(d_state + at, inside, rates)
        elif t + 1 < T:
            if counters is not None:
                wait(counters + tl.program_id(0), step * tl.num_programs(1))
            left = d_products + (line + B) * 3 * H
            d_h += product_over_gates(left, row < B, right, unit < H, H, rates, 3, 4, UNITS, ROWS, DEPTH, PRECISION)
        d_new = (1 - keeps) * d_h
        d_z = d_new * (old - factor * n) * z * (1 - z)
        d_n = d_new * (1 - z) * factor * (1 - n * n)
        if inner is not None:
            d_r = d_n * take(inner + here, inside, rates) * r * (1 - r)
            tl.store(d_product, d_r, mask=inside)
            tl.store(d_product + H, d_z, mask=inside)
            tl.store(d_product + 2 * H, d_n * r, mask=inside)
            if counters is not None:
                arrive(counters + tl.program_id(0))
            tl.store(d_sum, d_r, mask=inside)
        tl.store(d_sum + H, d_z, mask=inside)
        tl.store(d_sum + 2 * H, d_n, mask=inside)
        d_past = keeps * d_h + d_new * z
    tl.store(carry_h + at, d_past, mask=inside)


@triton.jit(do_not_specialize=["t"])
def _backward_reset(
    gates,  # (T, B, 3H)
    states,  # (T + 1, B, H)
    d_reset,  # (B, H): of r ⊙ h
    carry_h,  # (B, H)
    d_sums,  # (T, B, 3H)
    rates,
    t,
    B,
    H,
    UNITS: tl.constexpr,
):
    """Reset before the product: from the state that was reset to r and the state."""
    row, unit = tl.program_id(0), tl.program_id(1) * UNITS + tl.arange(0, UNITS)
    line, inside = line_of(t, B, row), unit < H
    at = row * H + unit
    r = take(gates + line * 3 * H + unit, inside, rates)
    d = take(d_reset + at, inside, rates)
    d_r = d * take(states + line * H + unit, inside, rates) * r * (1 - r)
    tl.store(d_sums + line * 3 * H + unit, d_r, mask=inside)
    tl.store(carry_h + at, take(carry_h + at, inside, rates) + d * r, mask=inside)


def forward(call: Call) -> None:
    """All steps: fills the states."""
    a, (_, B, H) = call.arrays, call.sizes
    if "gain" in a:
        a["raw"] = call.each_step(B, 3 * H)
    if call.variant == "before":
        _all_before(call)
    else:
        if call.saves:
            a["inner"] = call.each_step(B, H)
        _all_after(call)


def backward(call: Call, d: Gradients) -> Arrays:
    """All steps back: the gradients of the parameters."""
    return _all_before_backward(call, d) if call.variant == "before" else _all_after_backward(call, d)


def _product(call: Call, groups: list[int], begin: int = 0) -> Product:
    """With the rows of the weight from `begin` on."""
    rows = slice(begin, begin + sum(groups))
    gain, raw = call.arrays.get("gain"), call.arrays.get("raw")
    return Product(
        call.arrays["weight"][rows],
        None if gain is None else gain[rows],
        groups,
        None if raw is None else raw[..., rows],
    )


def _masks(call: Call) -> tuple[bool, bool]:
    return call.masks.drawn[HIDDEN.value], call.masks.drawn[DROPOUT.value]


def _all_after(call: Call) -> None:
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    sums, states = a["sums"], a["states"]
    product, launches = _product(call, [2 * H, H]), launch(call)
    bias = a["bias"] if "bias" in a else sums.new_zeros(3 * H)
    products = bias if launches.weight is not None else sums.new_empty(B, 3 * H)
    for begin, end in launches.spans(T):
        if launches.weight is None:
            product.add(begin, states[begin], bias, products)
        _forward[launches.programs](
            *(sums, products, a.get("inner"), states, launches.weight, launches.counters()),
            *(masks.words, masks.rates, begin, end, B, H, *_masks(call)),
            **launches.options,
        )


def _all_after_backward(call: Call, d: Gradients) -> Arrays:
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    d_products = torch.empty_like(d.sums)
    product, launches = Backward(_product(call, [2 * H, H]), d_products), launch(call, back=True)
    for begin, end in reversed(launches.spans(T)):
        _backward[launches.programs](
            *(a["sums"], a["inner"], a["states"], launches.weight, d.outputs, d.state, d.carry_h, d.sums, d_products),
            *(launches.counters(), masks.words, masks.rates, begin, end, T, B, H, *_masks(call)),
            **launches.options,
        )
        if launches.weight is None or begin == 0:
            product.step(begin, d.state)
    found = product.parameters(a["states"][:-1])
    return found | {"bias": d_products.sum((0, 1))} if "bias" in a else found


def _all_before(call: Call) -> None:
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    sums, states = a["sums"], a["states"]
    gates, candidate = _product(call, [2 * H]), _product(call, [H], 2 * H)
    reset = sums.new_empty(B, H)
    launches = launch(call)
    programs, units = launches.programs, launches.options["UNITS"]
    for t in range(T):
        sums_rz, sums_n = sums[t, :, : 2 * H], sums[t, :, 2 * H :]
        gates.add(t, states[t], sums_rz, sums_rz)
        _forward_gates[programs](sums, reset, states, masks.rates, t, B, H, units)
        candidate.add(t, reset, sums_n, sums_n)
        _forward_candidate[programs](sums, states, masks.words, masks.rates, t, B, H, *_masks(call), units)


def _all_before_backward(call: Call, d: Gradients) -> Arrays:
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    gates = Backward(_product(call, [2 * H]), d.sums[..., : 2 * H])
    candidate = Backward(_product(call, [H], 2 * H), d.sums[..., 2 * H :])
    d_reset = torch.empty_like(d.state)
    launches = launch(call)
    programs, units = launches.programs, launches.options["UNITS"]
    for t in reversed(range(T)):
        _backward[programs](
            *(a["sums"], None, a["states"], None, d.outputs, d.state, d.carry_h, d.sums, d.sums),
            *(None, masks.words, masks.rates, t, t + 1, T, B, H, *_masks(call)),
            **launches.options,
        )
        candidate.step(t, d_reset)
        _backward_reset[programs](a["sums"], a["states"], d_reset, d.carry_h, d.sums, masks.rates, t, B, H, units)
        gates.step(t, d.state)
    before = a["states"][:-1]
    of_gates, of_candidate = gates.parameters(before), candidate.parameters(a["sums"][..., :H] * before)
    return {name: torch.cat([of_gates[name], of_candidate[name]]) for name in of_gates}
