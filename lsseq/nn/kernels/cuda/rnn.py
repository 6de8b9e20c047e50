"""The simple recurrent network; the equations are those of lsseq/nn/cells/rnn.py."""

from __future__ import annotations

import triton
import triton.language as tl

from lsseq.nn.kernels.cuda.call import Arrays, Call, Gradients
from lsseq.nn.kernels.cuda.elementwise import grid, line_of, take, tanh, units_of
from lsseq.nn.kernels.cuda.masks import HIDDEN, share
from lsseq.nn.kernels.cuda.products import Backward, Product


@triton.jit(do_not_specialize=["t"])
def _forward(
    sums,  # (T, B, H), in whose place the new states before zoneout are left
    states,  # (T + 1, B, H)
    words,
    rates,
    t,
    B,
    H,
    SAVES: tl.constexpr,
    RELU: tl.constexpr,
    DRAWS_H: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, unit, line = tl.program_id(0), units_of(BLOCK), line_of(t, B)
    inside = unit < H
    sums += line * H + unit
    states += line * H + unit
    total = take(sums, inside, rates)
    new = tl.where(total < 0, 0, total) if RELU else tanh(total)
    keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
    tl.store(states + B * H, keeps * take(states, inside, rates) + (1 - keeps) * new, mask=inside)
    if SAVES:
        tl.store(sums, new, mask=inside)


@triton.jit(do_not_specialize=["t"])
def _backward(
    news,  # (T, B, H)
    d_outputs,  # (T, B, H)
    d_state,  # (B, H): what came through the product of the step after
    carry_h,  # (B, H): what comes past it
    d_sums,  # (T, B, H)
    words,
    rates,
    t,
    B,
    H,
    RELU: tl.constexpr,
    DRAWS_H: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row, unit, line = tl.program_id(0), units_of(BLOCK), line_of(t, B)
    inside = unit < H
    at, here = row * H + unit, line * H + unit
    new = take(news + here, inside, rates)
    keeps = share(HIDDEN, DRAWS_H, words, rates, t, row, unit)
    d_h = take(d_outputs + here, inside, rates) + take(d_state + at, inside, rates)
    d_h += take(carry_h + at, inside, rates)
    d_new = (1 - keeps) * d_h
    tl.store(d_sums + here, tl.where(new <= 0, 0, d_new) if RELU else d_new * (1 - new * new), mask=inside)
    tl.store(carry_h + at, keeps * d_h, mask=inside)


def _product(call: Call) -> Product:
    weight = call.arrays["weight"]
    return Product(weight, call.arrays.get("gain"), [len(weight)], call.arrays.get("raw"))


def forward(call: Call) -> None:
    """All steps: fills the states."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    if "gain" in a:
        a["raw"] = call.each_step(B, H)
    product, sums, states = _product(call), a["sums"], a["states"]
    programs, block = grid(B, H)
    for t in range(T):
        now = sums[t]
        product.add(t, states[t], now, now)
        _forward[programs](
            *(sums, states, masks.words, masks.rates, t, B, H),
            *(call.saves, call.variant == "relu", masks.drawn[HIDDEN.value], block),
        )


def backward(call: Call, d: Gradients) -> Arrays:
    """All steps back: the gradients of the parameters."""
    a, masks, (T, B, H) = call.arrays, call.masks, call.sizes
    product = Backward(_product(call), d.sums)
    programs, block = grid(B, H)
    for t in reversed(range(T)):
        _backward[programs](
            *(a["sums"], d.outputs, d.state, d.carry_h, d.sums, masks.words, masks.rates, t, B, H),
            *(call.variant == "relu", masks.drawn[HIDDEN.value], block),
        )
        product.step(t, d.state)
    return product.parameters(a["states"][:-1])
